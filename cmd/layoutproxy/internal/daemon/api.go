package daemon

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/registry"
	"github.com/layoutproxy/layoutproxy/registry/auth"
	"github.com/layoutproxy/layoutproxy/registry/limit"
	"github.com/layoutproxy/layoutproxy/registry/observe"
	"github.com/layoutproxy/layoutproxy/registry/trace"
)

// authenticated wraps next so that it requires a login or a token. If the flags set neither, it
// returns next itself.
func authenticated(a settings.Auth, next http.Handler, log *zap.Logger) (http.Handler, error) {
	if !a.On() {
		return next, nil
	}
	return auth.New(next, auth.Options{Htpasswd: a.Htpasswd, Token: a.Token, Scope: registry.Scope, Log: log})
}

// api returns the handler of the registry address: the registry with authentication, limits,
// metrics and traces.
func (s *Daemon) api(metrics *prometheus.Registry) (http.Handler, error) {
	flags := s.flags
	guarded, err := s.guarded(flags.Auth)
	if err != nil {
		return nil, err
	}
	s.pulls.Store(guarded)
	s.private = flags.Auth.On()
	options := observe.Options{Route: registry.Route, Registerer: metrics}
	if flags.AccessLog {
		options.AccessLog = s.log.Named("access")
	}
	for _, c := range []prometheus.Collector{
		observe.Tree{Snapshot: s.live.tree.Snapshot, Problems: s.live.problemsNow, Refused: s.refusals.count.Load}, s.reloaded, newReachable(s.reach),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := metrics.Register(c); err != nil {
			return nil, err
		}
	}
	limited, err := limitRequests(&flags.Clients, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		(*s.pulls.Load()).ServeHTTP(w, req)
	}))
	if err != nil {
		return nil, err
	}
	observed, err := observe.New(limited, options)
	if err != nil {
		return nil, err
	}
	handler, untrace, err := traced(flags.TraceEndpoint, s.version, observed, s.log)
	if err != nil {
		return nil, err
	}
	s.untrace = untrace
	return forwarded(&flags.Clients, handler)
}

// guarded returns the handler of the registry, with the login or token that the flags require.
func (s *Daemon) guarded(flags settings.Auth) (*http.Handler, error) {
	options := registry.Options{Refused: s.refusals.add, Warnings: s.live.warningsNow, Private: flags.On(), Reachable: s.reach.Wait}
	if s.flags.S3.Redirect {
		options.Redirect = redirect
	}
	api, err := registry.New(s.live, options)
	if err != nil {
		return nil, err
	}
	guarded, err := authenticated(flags, api, s.log)
	return &guarded, err
}

func limitRequests(c *settings.Clients, next http.Handler) (http.Handler, error) {
	if c.Rate == 0 {
		return next, nil
	}
	return limit.Requests(next, c.Rate, c.Burst)
}

// forwarded gives next the address of the client. Behind a trusted proxy, that is the address in
// the proxy's headers.
func forwarded(c *settings.Clients, next http.Handler) (http.Handler, error) {
	trusted, err := c.Trusted()
	return limit.Forwarded(next, trusted), err
}

// limitConnections limits the open connections per client, if the flags set a limit. A metric
// counts the refused connections.
func limitConnections(c *settings.Clients, s *http.Server, metrics prometheus.Registerer) error {
	if c.Connections == 0 {
		return nil
	}
	trusted, err := c.Trusted()
	if err != nil {
		return err
	}
	connections := limit.NewConnections(c.Connections, trusted)
	s.ConnState = connections.State
	return metrics.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "layoutproxy_connections_refused_total",
		Help: "Connections closed because their client had --client-connections open.",
	}, func() float64 { return float64(connections.Refused()) }))
}

// lastSpans is how long the program tries to send the last spans before it exits.
const lastSpans = 5 * time.Second

// traced makes next send spans to the collector at endpoint, unless endpoint is empty. The returned
// function sends the remaining spans before the program exits.
func traced(endpoint, version string, next http.Handler, log *zap.Logger) (http.Handler, func(), error) {
	if endpoint == "" {
		return next, func() {}, nil
	}
	tracer, err := trace.New(context.Background(), trace.Options{
		Endpoint: endpoint, Version: version, Log: log.Named("trace"), Route: registry.Route,
		Repository: func(req *http.Request) string {
			kind, name := registry.Scope(req)
			if kind != "repository" {
				return ""
			}
			return name
		},
	})
	if err != nil {
		return nil, nil, err
	}
	return tracer.Wrap(next), func() {
		ctx, cancel := context.WithTimeout(context.Background(), lastSpans)
		defer cancel()
		if err := tracer.Close(ctx); err != nil {
			log.Warn("traces cannot be sent", zap.Error(err))
		}
	}, nil
}

// refusals counts requests that are refused because of a problem, and logs each digest once per repository.
type refusals struct {
	log   *zap.Logger
	count atomic.Int64

	mu   sync.Mutex
	seen map[string]bool
}

// maxSeen is the maximum number of refusals that are logged.
const maxSeen = 1000

func newRefusals(log *zap.Logger) *refusals {
	return &refusals{log: log, seen: map[string]bool{}}
}

func (r *refusals) add(repository, reference string, err *layoutstore.ProblemError) {
	r.count.Add(1)
	key := repository + "@" + string(err.Problem.Digest)
	r.mu.Lock()
	known := r.seen[key] || len(r.seen) >= maxSeen
	if !known {
		r.seen[key] = true
	}
	r.mu.Unlock()
	if !known {
		r.log.Warn("refused", zap.String("repository", repository), zap.String("reference", reference), zap.Error(err))
	}
}
