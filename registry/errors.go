package registry

import (
	"context"
	"errors"
	"io/fs"
	"net/http"

	"github.com/distribution/distribution/v3/registry/api/errcode"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
)

var (
	errRoute  = errors.New("no such path in the registry API")
	errMethod = errors.New("this registry is read-only")
	errTag    = errors.New("invalid tag")
	errDigest = errors.New("malformed digest")
	errNumber = errors.New("n is not a valid number of entries")
	errRange  = errors.New("the range is not within the content")

	errNotRescanned = errors.New("the sources have changed, and the rescan has not succeeded yet")
)

// codes maps errors to error codes of the specification. The first match applies. distribution's
// table defines the status of each code.
var codes = []struct {
	is   func(error) bool
	code errcode.ErrorCode
}{
	{as(errMethod), errcode.ErrorCodeUnsupported},
	{as(errRoute), errcode.ErrorCodeNameUnknown},
	{as(errTag), errcode.ErrorCodeTagInvalid},
	{as(errNumber), errcode.ErrorCodePaginationNumberInvalid},
	{as(errRange), errcode.ErrorCodeRangeInvalid},
	{as(errDigest), errcode.ErrorCodeDigestInvalid},
	// These come before the errors for missing content: while a bucket is unreachable, before a
	// rescan succeeds, and while a file changes, nobody knows what the sources contain.
	{as(bucket.ErrUnreachable), errcode.ErrorCodeTooManyRequests},
	{as(errNotRescanned), errcode.ErrorCodeTooManyRequests},
	{isChanging, errcode.ErrorCodeTooManyRequests},
	{as(layoutstore.ErrNameInvalid), errcode.ErrorCodeNameInvalid},
	{as(layoutstore.ErrRepositoryUnknown), errcode.ErrorCodeNameUnknown},
	{as(layoutstore.ErrManifestUnknown), errcode.ErrorCodeManifestUnknown},
	{as(layoutstore.ErrBlobUnknown), errcode.ErrorCodeBlobUnknown},
	// Clients retry after 429, but not after 503. A retry can help: file handles become free again,
	// and a file that changes now will stop changing.
	{layoutstore.IsExhausted, errcode.ErrorCodeTooManyRequests},
	{as(layoutstore.ErrSlow), errcode.ErrorCodeTooManyRequests},
	{as(context.Canceled), errcode.ErrorCodeTooManyRequests}, // the client has disconnected
	{as(context.DeadlineExceeded), errcode.ErrorCodeTooManyRequests},
	{as(layoutstore.ErrStale), errcode.ErrorCodeTooManyRequests},
}

func as(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

// isChanging reports whether err means that a file has changed again after the last scan. A file that
// was removed does not count: it may never come back.
func isChanging(err error) bool {
	return errors.Is(err, layoutstore.ErrStale) && !errors.Is(err, fs.ErrNotExist)
}

func codeOf(err error) errcode.ErrorCode {
	for _, c := range codes {
		if c.is(err) {
			return c.code
		}
	}
	return errcode.ErrorCodeUnknown
}

// retryAfter is the Retry-After header of a 429 response, in seconds. After this time, file handles
// are probably free and writes complete.
const retryAfter = "2"

// sendError is an error that occurred after the status was sent, when it was too late to change it.
type sendError struct{ error }

func asSendError(err error) error {
	if err == nil {
		return nil
	}
	return sendError{err}
}

// serveError answers a request with the code and the status of an error.
func (r *registry) serveError(w http.ResponseWriter, req *http.Request, err error) {
	var send sendError
	if errors.As(err, &send) {
		return // the client has disconnected, which is normal
	}
	h := w.Header()
	for _, name := range []string{"Cache-Control", "Content-Length", "Docker-Content-Digest", "Etag", "Accept-Ranges"} {
		h.Del(name)
	}
	var refused *layoutstore.ProblemError
	if errors.As(err, &refused) && r.options.Refused != nil {
		_, path, _ := cut(req.URL.Path)
		rest, reference := cutLast(path)
		name, _ := cutLast(rest)
		r.options.Refused(name, reference, refused)
	}
	code := codeOf(err)
	if code == errcode.ErrorCodeTooManyRequests {
		h.Set("Retry-After", retryAfter)
	}
	// ServeJSON fails only if the client has disconnected.
	_ = errcode.ServeJSON(w, code.WithDetail(err.Error()))
}
