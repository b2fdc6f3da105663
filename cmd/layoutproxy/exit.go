package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// The exit statuses of the program.
const (
	exitDone    = 0
	exitFailed  = 1 // a source missing, a port taken
	exitUsage   = 2 // wrong usage
	exitContent = 3 // content damaged, incomplete or different

	exitInterrupted = 130 // by a signal; a second run goes on from there
)

// usageError is an error of who called the program.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// contentError says that something is wrong with the content of a source.
type contentError struct{ error }

func (e contentError) Unwrap() error { return e.error }

// interruptedError says that a signal ended a command before it was done.
type interruptedError struct{ error }

func (e interruptedError) Unwrap() error { return e.error }

// hintedError says what to do next as well.
type hintedError struct {
	error
	hint string
}

func (e hintedError) Unwrap() error { return e.error }

func exitStatus(err error) int {
	var usage usageError
	var content contentError
	var interrupted interruptedError
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &content):
		return exitContent
	case errors.As(err, &interrupted):
		return exitInterrupted
	}
	return exitFailed
}

// sourceError sorts what opening a tree failed with.
func sourceError(err error) error {
	switch {
	case errors.Is(err, layoutstore.ErrRootInvalid):
		return usageError{hintedError{err, "a root is lower-case path segments separated by slashes, as deckhouse/ee; at most 255 bytes"}}
	case errors.Is(err, layoutstore.ErrNoSource):
		return usageError{hintedError{err, "name the directory of the bundle: layoutproxy serve /media/bundle"}}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return hintedError{err, "is the disk mounted? a source is a directory, a .tar or a chunk of one"}
	}
	return err
}

// problemsError is the error for n problems that keep a command from being done.
func problemsError(n int) error {
	noun := "problems"
	if n == 1 {
		noun = "problem"
	}
	return contentError{fmt.Errorf("%d %s in the sources", n, noun)}
}
