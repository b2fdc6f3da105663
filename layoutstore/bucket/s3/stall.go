package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// stall is how long a body may deliver no data before reading it fails.
const stall = time.Minute

// errStalled is the error of a body that returned no data for too long.
var errStalled = fmt.Errorf("no data for %s", stall)

// stallTransport ends a request if the body of its response stalls. A store that hangs may keep its
// connections open for ever.
type stallTransport struct {
	http.RoundTripper
	afterFunc func(time.Duration, func()) *time.Timer
}

// RoundTrip implements http.RoundTripper.
func (t *stallTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	resp, err := t.RoundTripper.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel(nil)
		return nil, err
	}
	resp.Body = &stallBody{ReadCloser: resp.Body, ctx: ctx, cancel: cancel, afterFunc: t.afterFunc}
	return resp, nil
}

// stallBody is a response body that fails with errStalled if it returns no data for too long.
type stallBody struct {
	io.ReadCloser
	ctx       context.Context // the context of the request
	cancel    context.CancelCauseFunc
	afterFunc func(time.Duration, func()) *time.Timer
	timer     *time.Timer
}

// Read implements io.Reader.
func (b *stallBody) Read(p []byte) (int, error) {
	if b.timer == nil {
		b.timer = b.afterFunc(stall, func() { b.cancel(errStalled) })
	} else {
		b.timer.Reset(stall)
	}
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if err != nil && !errors.Is(err, io.EOF) && errors.Is(context.Cause(b.ctx), errStalled) {
		err = errStalled
	}
	return n, err
}

// Close closes the body. If the body is not at its end, Close also closes the connection.
func (b *stallBody) Close() error {
	if b.timer != nil {
		b.timer.Stop()
	}
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}
