package exit

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// OnFirstSignal returns a context that SIGINT or SIGTERM ends. From then on the system does with a
// signal what it does by default: the second one ends the process.
func OnFirstSignal(parent context.Context) (ctx context.Context, stop func()) {
	ctx, ignore := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	unregister := context.AfterFunc(ctx, ignore)
	return ctx, func() {
		unregister()
		ignore()
	}
}
