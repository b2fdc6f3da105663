package bucket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/minio/minio-go/v7"
)

var (
	// ErrUnreachable says that the bucket cannot be asked, or does not answer: nothing is known of the object.
	ErrUnreachable = errors.New("bucket unreachable")
	// ErrChanged says that an object is not, or no longer, the one that the caller means.
	ErrChanged = errors.New("object changed")
)

// Error is the error of a request for an object, or of a list. Its kind is one of fs.ErrNotExist, [ErrUnreachable] and
// [ErrChanged].
type Error struct {
	Where  string // s3://bucket/key
	Status int    // of the answer; 0 if there was none
	Code   string // of S3, such as AccessDenied
	Kind   error
	cause  error
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
	return fmt.Sprintf("%s: %v: %v", e.Where, e.Kind, e.cause)
}

// Unwrap returns the kind and the cause.
func (e *Error) Unwrap() []error { return []error{e.Kind, e.cause} }

// wrap makes the error of a request out of one of minio-go.
func wrap(ctx context.Context, where string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", where, context.Cause(ctx))
	}
	e := &Error{Where: where, Kind: ErrUnreachable, cause: err}
	var answer minio.ErrorResponse
	if errors.As(err, &answer) {
		e.Status, e.Code = answer.StatusCode, answer.Code
		e.Kind = kindOf(answer)
	}
	return e
}

func kindOf(answer minio.ErrorResponse) error {
	switch {
	case answer.Code == "NoSuchBucket":
		return ErrUnreachable
	case answer.StatusCode == http.StatusNotFound:
		return fs.ErrNotExist
	case answer.StatusCode == http.StatusPreconditionFailed, answer.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return ErrChanged
	case answer.StatusCode == http.StatusConflict && answer.Code == "ConditionalRequestConflict":
		return ErrChanged
	}
	return ErrUnreachable
}

// passing reports whether the same request may succeed a moment later.
func passing(err error) bool {
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) {
		return !errors.Is(err, errBody)
	}
	switch answer.StatusCode {
	case 0, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	}
	return answer.StatusCode >= 500 && answer.StatusCode != http.StatusNotImplemented
}

// errBody marks the error of a body that a caller hands to Put.
var errBody = errors.New("body")

// bodyError is an error of a body, which no retry can change.
type bodyError struct{ err error }

func (e *bodyError) Error() string   { return e.err.Error() }
func (e *bodyError) Unwrap() []error { return []error{errBody, e.err} }
