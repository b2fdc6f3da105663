package daemon

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/overlap"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
)

// newReloaded returns the metric with the result of the last reload.
func newReloaded() prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "layoutproxy_configuration_last_reload_successful",
		Help: "Whether the configuration was usable when it was read last: 1 or 0.",
	})
	g.Set(1)
	return g
}

// hangups returns the signals that reload the configuration. They are caught before the program
// reports that it is ready.
func hangups() chan os.Signal {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	return hangup
}

// onHangup reloads the configuration at each SIGHUP.
func (s *Daemon) onHangup(ctx context.Context) {
	defer signal.Stop(s.hangup)
	for {
		select {
		case <-s.hangup:
			s.notify.duringReload(func() { s.reload(ctx) })
		case <-ctx.Done():
			return
		}
	}
}

// reload applies sources, roots and credentials from the current configuration, and rescans. If
// that fails, it keeps the previous configuration.
func (s *Daemon) reload(ctx context.Context) {
	next, err := s.reconfigure(ctx)
	s.reloaded.Set(0)
	if err != nil {
		s.log.Error("the configuration cannot be used: keeping the previous one", zap.Error(err))
		s.live.rescan(ctx)
		return
	}
	s.reloaded.Set(1)
	next.Config.Warn(s.log)
	s.log.Info("configuration read again", zap.Strings("sources", next.Sources(s.flags.Store.Dir)))
	if names := next.Config.ChangedSince(&s.flags.Config); len(names) > 0 {
		s.log.Warn("these settings have changed: restart to apply them", zap.Strings("settings", names))
	}
}

// errOpen refuses a new configuration that requires no login, because the file may be half-written.
var errOpen = errors.New("the new configuration requires no login: restart the server if this is intended")

// reconfigure reads the configuration and applies it.
func (s *Daemon) reconfigure(ctx context.Context) (*settings.Serve, error) {
	next, err := s.flags.Again()
	if err != nil {
		return nil, err
	}
	if s.private && !next.Auth.On() {
		return nil, errOpen
	}
	// The store and the drop directory are still those of the start.
	if err := overlap.Check(s.flags.Places(next.Config.Sources)...); err != nil {
		return nil, err
	}
	guarded, err := s.guarded(next.Auth)
	if err != nil {
		return nil, err
	}
	next.VerifyKey = s.flags.VerifyKey // as at the start, like that of the drop directory
	// Before the sources change: the new content is only for clients with the new credentials.
	before := s.pulls.Swap(guarded)
	if err := s.live.reconfigure(ctx, monitored(s.reach, next.Options(next.Sources(s.flags.Store.Dir)))); err != nil {
		s.pulls.Store(before)
		return nil, err
	}
	s.private = next.Auth.On()
	s.follower.setEditionSplit(next.NoEditionSplit)
	return next, nil
}
