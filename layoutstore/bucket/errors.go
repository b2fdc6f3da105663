package bucket

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
)

var (
	// ErrUnreachable means that the bucket cannot be reached, or that the store does not respond as
	// it should. Whether the object exists is unknown.
	ErrUnreachable = errors.New("bucket unreachable")
	// ErrChanged means that a condition on the object is not met, usually because the object has changed.
	ErrChanged = errors.New("object changed")
)

// Error is the error of one request. Its Kind is fs.ErrNotExist, [ErrUnreachable] or [ErrChanged].
type Error struct {
	// Where names the object in the form s3://bucket/key.
	Where string
	// Status is the HTTP status of the response, or 0 if there was no response.
	Status int
	// Code is the error code of S3, such as AccessDenied.
	Code  string
	Kind  error
	Cause error
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

// Unwrap returns the kind and the cause of the error.
func (e *Error) Unwrap() []error { return []error{e.Kind, e.Cause} }
