// Package observe tells of the requests that a handler answers: metrics, and an
// access log with an id for each request, which the answer carries too.
//
// [New] wraps a handler. The wrapped response keeps io.ReaderFrom, so that a
// plain blob still goes from its file to the socket without passing through us.
// Metric names and labels are in metrics.go, and docs/metrics.md lists them.
package observe

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/felixge/httpsnoop"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Options of the observation.
type Options struct {
	// Route names the route of a request, one of a few.
	Route func(*http.Request) string
	// Registerer takes the metrics.
	Registerer prometheus.Registerer
	// AccessLog gets a line a request. Nil is none.
	AccessLog *zap.Logger
}

type observer struct {
	next    http.Handler
	options Options
	metrics *metrics

	idPrefix string // of this process
	idLast   atomic.Uint64
}

// New wraps next. Errors: missing options; metrics of the same names registered
// already.
func New(next http.Handler, options Options) (http.Handler, error) {
	if next == nil || options.Route == nil || options.Registerer == nil {
		return nil, errors.New("observing without a handler, a route or a registerer")
	}
	m, err := newMetrics(options.Registerer)
	if err != nil {
		return nil, err
	}
	var prefix [6]byte
	if _, err := rand.Read(prefix[:]); err != nil {
		return nil, err
	}
	return &observer{next: next, options: options, metrics: m, idPrefix: hex.EncodeToString(prefix[:]) + "-"}, nil
}

// response is what is known of an answer so far.
type response struct {
	code  int
	bytes int64
}

func (o *observer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	start := time.Now()
	o.metrics.inFlight.Inc()
	var id string
	if o.options.AccessLog != nil { // without a log there is nothing to find by it
		id = o.idPrefix + strconv.FormatUint(o.idLast.Add(1), 10)
		w.Header()["X-Request-Id"] = []string{id}
	}
	var r response
	defer func() {
		// Also where the handler panics to cut the connection.
		o.metrics.inFlight.Dec()
		o.done(req, &r, id, time.Since(start))
	}()
	o.next.ServeHTTP(httpsnoop.Wrap(w, r.hooks()), req)
	if req.Method == http.MethodHead {
		r.bytes = 0 // what was written was not sent
	}
}

// hooks count what goes through a response. ReadFrom is passed on as it is, as it
// is what sends files by the kernel.
func (r *response) hooks() httpsnoop.Hooks {
	return httpsnoop.Hooks{
		WriteHeader: func(next httpsnoop.WriteHeaderFunc) httpsnoop.WriteHeaderFunc {
			return func(code int) {
				if r.code == 0 && code >= 200 {
					r.code = code
				}
				next(code)
			}
		},
		Write: func(next httpsnoop.WriteFunc) httpsnoop.WriteFunc {
			return func(p []byte) (int, error) {
				n, err := next(p)
				r.bytes += int64(n)
				return n, err
			}
		},
		ReadFrom: func(next httpsnoop.ReadFromFunc) httpsnoop.ReadFromFunc {
			return func(src io.Reader) (int64, error) {
				n, err := next(src)
				r.bytes += n
				return n, err
			}
		},
	}
}

func (o *observer) done(req *http.Request, r *response, id string, took time.Duration) {
	if r.code == 0 {
		r.code = http.StatusOK // what net/http sends for a handler that says nothing
	}
	route := o.options.Route(req)
	o.metrics.observe(series{route, method(req.Method), r.code}, r.bytes, took)
	if o.options.AccessLog == nil {
		return
	}
	o.options.AccessLog.Info("request",
		zap.String("id", id), zap.String("client", req.RemoteAddr),
		zap.String("method", req.Method), zap.String("path", req.URL.RequestURI()), zap.String("protocol", req.Proto),
		zap.Int("status", r.code), zap.Int64("bytes", r.bytes), zap.Duration("took", took),
		zap.String("range", req.Header.Get("Range")), zap.String("agent", req.UserAgent()))
}

// method is the method as a label: those that the registry knows, and one for all others.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return m
	}
	return "other"
}
