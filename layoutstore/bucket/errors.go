package bucket

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
)

var (
	// ErrUnreachable says that the bucket cannot be reached, or does not answer: nothing is known about the object.
	ErrUnreachable = errors.New("bucket unreachable")
	// ErrChanged says that a condition on the object does not hold: usually it has changed.
	ErrChanged = errors.New("object changed")
)

// Error is the error of a request. Its kind is fs.ErrNotExist, [ErrUnreachable] or [ErrChanged].
type Error struct {
	Where  string // s3://bucket/key
	Status int    // of the answer; 0 if there was none
	Code   string // of S3, such as AccessDenied
	Kind   error
	Cause  error
}

func (e *Error) Error() string {
	switch {
	case e.Code == "NoSuchBucket":
		return fmt.Sprintf("%s: the bucket does not exist", e.Where)
	case errors.Is(e.Kind, fs.ErrNotExist), errors.Is(e.Kind, ErrChanged):
		return fmt.Sprintf("%s: %v", e.Where, e.Kind)
	case e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden:
		return fmt.Sprintf("%s: access denied (%d %s)", e.Where, e.Status, e.Code)
	case e.Status != 0:
		return fmt.Sprintf("%s: %v: the store answers %d %s", e.Where, e.Kind, e.Status, e.Code)
	}
	return fmt.Sprintf("%s: %v: %v", e.Where, e.Kind, e.Cause)
}

// Unwrap returns the kind and the cause.
func (e *Error) Unwrap() []error { return []error{e.Kind, e.Cause} }
