package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/distribution/distribution/v3/registry/api/errcode"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

var (
	errRoute  = errors.New("no such path in the registry API")
	errMethod = errors.New("this registry is read-only")
	errTag    = errors.New("invalid tag")
	errNumber = errors.New("n is not a number of entries")
	errRange  = errors.New("the range is not within the content")
)

// digestError says that a digest of a request is none.
type digestError struct {
	digest string
	err    error
}

func (e *digestError) Error() string { return fmt.Sprintf("digest %.100q: %v", e.digest, e.err) }

// codes says which code of the specification an error is. The code brings its
// status: distribution's table. The first that fits counts.
var codes = []struct {
	is   func(error) bool
	code errcode.ErrorCode
}{
	{as(errMethod), errcode.ErrorCodeUnsupported},
	{as(errRoute), errcode.ErrorCodeNameUnknown},
	{as(errTag), errcode.ErrorCodeTagInvalid},
	{as(errNumber), errcode.ErrorCodePaginationNumberInvalid},
	{as(errRange), errcode.ErrorCodeRangeInvalid},
	{func(err error) bool { var e *digestError; return errors.As(err, &e) }, errcode.ErrorCodeDigestInvalid},
	{as(layoutstore.ErrNameInvalid), errcode.ErrorCodeNameInvalid},
	{as(layoutstore.ErrRepositoryUnknown), errcode.ErrorCodeNameUnknown},
	{as(layoutstore.ErrManifestUnknown), errcode.ErrorCodeManifestUnknown},
	{as(layoutstore.ErrBlobUnknown), errcode.ErrorCodeBlobUnknown},
	// A client that is told 429 asks again here; 503 ends its pull. A file that
	// changes at each look will be still in a while.
	{layoutstore.IsExhausted, errcode.ErrorCodeTooManyRequests},
	{as(layoutstore.ErrSlow), errcode.ErrorCodeTooManyRequests},
	{as(context.Canceled), errcode.ErrorCodeTooManyRequests}, // the client has gone
	{as(context.DeadlineExceeded), errcode.ErrorCodeTooManyRequests},
	{as(layoutstore.ErrStale), errcode.ErrorCodeTooManyRequests},
}

func as(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func codeOf(err error) errcode.ErrorCode {
	for _, c := range codes {
		if c.is(err) {
			return c.code
		}
	}
	return errcode.ErrorCodeUnknown
}

// retryAfter is when a client may ask again for what could not be read just now, in
// seconds: files are given back, and what was written has come to rest.
const retryAfter = "2"

// sendError marks the failure of a body under way: nothing more can be said.
type sendError struct{ error }

// written marks err, if there is one, as having come while the body was sent.
func written(err error) error {
	if err == nil {
		return nil
	}
	return sendError{err}
}

// serveError answers with the error's code and status.
func (r *registry) serveError(w http.ResponseWriter, req *http.Request, err error) {
	var send sendError
	if errors.As(err, &send) {
		return // the client went away, which clients do
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
	// ServeJSON fails only when the client has gone.
	_ = errcode.ServeJSON(w, code.WithDetail(err.Error()))
}
