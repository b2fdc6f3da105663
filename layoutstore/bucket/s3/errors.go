package s3

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/minio/minio-go/v7"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
)

// wrap converts an error of minio-go into a *bucket.Error. If ctx has ended, it returns the cause
// of ctx instead.
func wrap(ctx context.Context, where string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", where, context.Cause(ctx))
	}
	e := &bucket.Error{Where: where, Kind: bucket.ErrUnreachable, Cause: err}
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
		return bucket.ErrUnreachable
	case answer.StatusCode == http.StatusNotFound:
		return fs.ErrNotExist
	case answer.StatusCode == http.StatusPreconditionFailed, answer.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return bucket.ErrChanged
	case answer.StatusCode == http.StatusConflict && answer.Code == conflict:
		return bucket.ErrChanged
	}
	return bucket.ErrUnreachable
}

// isTemporary reports whether retrying the request may succeed.
func isTemporary(err error) bool {
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) {
		return !errors.Is(err, errBody)
	}
	switch answer.StatusCode {
	case 0, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	case http.StatusConflict: // the status for two conditional writes at the same time
		return answer.Code == conflict
	}
	return answer.StatusCode >= 500 && answer.StatusCode != http.StatusNotImplemented
}

// conflict is the error code for a conditional write during another write. Such a write may be
// retried (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html).
const conflict = "ConditionalRequestConflict"

// errBody marks an error from the body that the caller of Put provides.
var errBody = errors.New("body")

// bodyError is an error from the body that the caller of Put provides. A retry cannot help.
type bodyError struct{ err error }

func (e *bodyError) Error() string   { return e.err.Error() }
func (e *bodyError) Unwrap() []error { return []error{errBody, e.err} }
