package exit

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// OnFirstSignal returns a context that SIGINT or SIGTERM ends. Afterwards it calls then, and the
// system's default applies: a second signal ends the process.
func OnFirstSignal(parent context.Context, then func()) (ctx context.Context, stop func()) {
	ctx, ignore := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	unregister := context.AfterFunc(ctx, func() {
		ignore()
		then()
	})
	return ctx, func() {
		unregister()
		ignore()
	}
}
