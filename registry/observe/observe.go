// Package observe reports the requests to a handler as metrics and in an access log. With the
// log, each request gets an id, which is also in the response.
//
// [New] wraps a handler. The wrapped response keeps io.ReaderFrom, so that the kernel still sends
// a plain blob from its file to the socket. metrics.go defines the metric names and labels, and
// docs/metrics.md lists them.
package observe

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Options configures [New].
type Options struct {
	// Route returns the route of a request, which becomes a label. There must be few different
	// routes.
	Route      func(*http.Request) string
	Registerer prometheus.Registerer
	// AccessLog gets one line per request. If it is nil, there is no access log.
	AccessLog *zap.Logger
}

type observer struct {
	next    http.Handler
	options Options
	metrics *metrics

	idPrefix string // prefix of all request ids of this process
	idLast   atomic.Uint64
}

// New returns a handler that counts and logs each request to next. It returns an error if an
// option is missing, or if metrics with the same names are already registered.
func New(next http.Handler, options Options) (http.Handler, error) {
	if next == nil || options.Route == nil || options.Registerer == nil {
		return nil, errors.New("observe needs a handler, a route and a registerer")
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

func (o *observer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	start := time.Now()
	o.metrics.inFlight.Inc()
	var id string
	if o.options.AccessLog != nil { // ids are needed only in the access log
		id = o.idPrefix + strconv.FormatUint(o.idLast.Add(1), 10)
		w.Header()["X-Request-Id"] = []string{id}
	}
	r := &response{ResponseWriter: w}
	defer func() {
		// This is deferred because a handler may panic to cut the connection.
		o.metrics.inFlight.Dec()
		o.done(req, r, id, time.Since(start))
	}()
	o.next.ServeHTTP(r.writer(), req)
	if req.Method == http.MethodHead {
		r.bytes = 0 // net/http does not send the body of an answer to HEAD
	}
}

func (o *observer) done(req *http.Request, r *response, id string, took time.Duration) {
	if r.code == 0 {
		r.code = http.StatusOK // if the handler sets no status, net/http sends 200
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

// method returns the label for a method. All methods that the API does not use share one label.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return m
	}
	return "other"
}
