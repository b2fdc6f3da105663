// Package exit defines the exit statuses of layoutproxy, and adds statuses and advice to errors.
package exit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// The exit statuses of layoutproxy.
const (
	Done    = 0
	Failed  = 1 // For example, a source is missing or a port is in use.
	Usage   = 2 // The command line, the environment or the configuration is wrong.
	Content = 3 // Content is damaged, incomplete or different.

	Interrupted = 130 // A signal ended the program. The next run resumes.
)

// statusError is an error with an exit status.
type statusError struct {
	error
	status status
}

func (e statusError) Unwrap() error { return e.error }

// Is lets [errors.Is] find the exit status anywhere in a chain of errors.
func (e statusError) Is(target error) bool { return target == e.status }

// status is an exit status, as an error that [errors.Is] can look for.
type status int

func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// UsageError marks err: the command line, the environment or the configuration is wrong.
func UsageError(err error) error { return statusError{err, Usage} }

// ContentError marks err: the content of a source or a registry is damaged, incomplete or
// different.
func ContentError(err error) error { return statusError{err, Content} }

// Ended returns the error interrupted, marked by [InterruptedError], if ctx has ended, even if err is nil.
// Otherwise it returns err.
func Ended(ctx context.Context, err, interrupted error) error {
	if ctx.Err() != nil {
		return InterruptedError(interrupted)
	}
	return err
}

// InterruptedError marks err: a signal ended the command before it was done.
func InterruptedError(err error) error { return statusError{err, Interrupted} }

// Status returns the exit status for an error. If the chain has several statuses, Usage takes
// precedence over Content, and Content over Interrupted.
func Status(err error) int {
	if err == nil {
		return Done
	}
	for _, s := range []int{Usage, Content, Interrupted} {
		if errors.Is(err, status(s)) {
			return s
		}
	}
	return Failed
}

type hintedError struct {
	error
	hint string
}

func (e hintedError) Unwrap() error { return e.error }

// WithHint adds advice to an error.
func WithHint(err error, hint string) error { return hintedError{err, hint} }

// Hint returns the advice on an error, or "" if there is none.
func Hint(err error) string {
	var hinted hintedError
	if errors.As(err, &hinted) {
		return hinted.hint
	}
	return ""
}

// OnSignal returns a context that ends at SIGINT or SIGTERM. Further signals have no effect until
// stop is called.
func OnSignal(parent context.Context) (ctx context.Context, stop func()) {
	return signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
}

// OnFirstSignal returns a context that ends at SIGINT or SIGTERM. When it has
// ended, notify is called. A second signal ends the process.
func OnFirstSignal(parent context.Context, notify func()) (ctx context.Context, stop func()) {
	ctx, ignore := OnSignal(parent)
	unregister := context.AfterFunc(ctx, func() {
		ignore()
		notify()
	})
	return ctx, func() {
		unregister()
		ignore()
	}
}
