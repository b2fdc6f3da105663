package exit

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// OnSignal returns a context that SIGINT or SIGTERM ends. Until stop is called, further signals have
// no effect.
func OnSignal(parent context.Context) (ctx context.Context, stop func()) {
	return signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
}

// OnFirstSignal returns a context that SIGINT or SIGTERM ends. After the signal it calls then, and a
// second signal ends the process.
func OnFirstSignal(parent context.Context, then func()) (ctx context.Context, stop func()) {
	ctx, ignore := OnSignal(parent)
	unregister := context.AfterFunc(ctx, func() {
		ignore()
		then()
	})
	return ctx, func() {
		unregister()
		ignore()
	}
}
