package daemon

import (
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/registry"
	"github.com/layoutproxy/layoutproxy/registry/auth"
	"github.com/layoutproxy/layoutproxy/registry/observe"
)

// authenticated lets through to next only who may pull.
func authenticated(a settings.Auth, next http.Handler, log *zap.Logger) (http.Handler, error) {
	if !a.On() {
		return next, nil
	}
	return auth.New(next, auth.Options{Htpasswd: a.Htpasswd, Token: a.Token, Scope: registry.Scope, Log: log})
}

// api returns the registry with its middleware and metrics.
func (s *Daemon) api(metrics *prometheus.Registry) (http.Handler, error) {
	flags := s.flags
	guarded, err := s.guarded(flags.Auth)
	if err != nil {
		return nil, err
	}
	s.pulls.now.Store(guarded)
	s.private = flags.Auth.On()
	options := observe.Options{Route: registry.Route, Registerer: metrics}
	if flags.AccessLog {
		options.AccessLog = s.log.Named("access")
	}
	for _, c := range []prometheus.Collector{
		observe.Tree{Snapshot: s.live.tree.Snapshot, Problems: s.live.problemsNow, Refused: s.refusals.count.Load}, s.reloaded,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := metrics.Register(c); err != nil {
			return nil, err
		}
	}
	limited, err := limitRequests(&flags.Clients, &s.pulls)
	if err != nil {
		return nil, err
	}
	observed, err := observe.New(limited, options)
	if err != nil {
		return nil, err
	}
	handler, untrace, err := traced(flags.Trace.Endpoint, s.version, observed, s.log)
	if err != nil {
		return nil, err
	}
	s.untrace = untrace
	return forwarded(&flags.Clients, handler)
}

// guarded returns the registry, for those who may pull.
func (s *Daemon) guarded(flags settings.Auth) (*http.Handler, error) {
	options := registry.Options{Refused: s.refusals.add, Warnings: s.live.warningsNow, Private: flags.On(), Reachable: s.reach.Wait}
	if s.flags.S3.Redirect {
		options.Redirect = redirect
	}
	api, err := registry.New(s.live.tree, options)
	if err != nil {
		return nil, err
	}
	guarded, err := authenticated(flags, api, s.log)
	return &guarded, err
}

// pulls hands a request to the handler that is in place now.
type pulls struct{ now atomic.Pointer[http.Handler] }

func (p *pulls) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	(*p.now.Load()).ServeHTTP(w, req)
}
