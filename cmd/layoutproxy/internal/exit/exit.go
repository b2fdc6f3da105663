// Package exit defines the exit statuses of the program, the errors that lead to them, and the
// advice on errors.
package exit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// The exit statuses of the program.
const (
	Done    = 0
	Failed  = 1 // a source missing, a port taken
	Usage   = 2 // wrong usage
	Content = 3 // content damaged, incomplete or different

	Interrupted = 130 // by a signal; a second run resumes
)

// statusError is an error that decides the exit status.
type statusError struct {
	error
	status status
}

func (e statusError) Unwrap() error { return e.error }

// Is makes [errors.Is] find the status anywhere in a chain.
func (e statusError) Is(target error) bool { return target == e.status }

// status is an exit status as a target of [errors.Is].
type status int

func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// UsageError reports that the command line, the environment or the configuration is wrong.
func UsageError(err error) error { return statusError{err, Usage} }

// ContentError reports that something is wrong with the content of a source or a registry.
func ContentError(err error) error { return statusError{err, Content} }

// Ended returns err, or interrupted as an [InterruptedError] if a signal has ended ctx.
func Ended(ctx context.Context, err, interrupted error) error {
	if ctx.Err() != nil {
		return InterruptedError(interrupted)
	}
	return err
}

// InterruptedError reports that a signal ended a command before it was done.
func InterruptedError(err error) error { return statusError{err, Interrupted} }

// Status returns the exit status for an error. If several errors in a chain have a status, wrong
// usage comes first, then content.
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

// hintedError is an error with a hint that says what to do next.
type hintedError struct {
	error
	hint string
}

func (e hintedError) Unwrap() error { return e.error }

// WithHint adds advice to an error.
func WithHint(err error, hint string) error { return hintedError{err, hint} }

// Hint returns the advice on an error, or empty.
func Hint(err error) string {
	var hinted hintedError
	if errors.As(err, &hinted) {
		return hinted.hint
	}
	return ""
}

// OnSignal returns a context that SIGINT or SIGTERM ends. Until stop is called, further signals have
// no effect.
func OnSignal(parent context.Context) (ctx context.Context, stop func()) {
	return signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
}

// OnFirstSignal returns a context that SIGINT or SIGTERM ends. After the signal it calls the
// function then, and a second signal ends the process.
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
