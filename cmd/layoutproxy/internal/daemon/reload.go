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

func newReloaded() prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "layoutproxy_configuration_last_reload_successful",
		Help: "Whether the configuration was usable when it was read last: 1 or 0.",
	})
	g.Set(1)
	return g
}

// hangups returns a channel that receives the SIGHUP signals of the process. It must exist before
// the program reports that it is ready: otherwise an early SIGHUP would end the program.
func hangups() chan os.Signal {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	return hangup
}

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

// reload reads the configuration again, applies the sources, roots and credentials, and rescans. If
// the new configuration cannot be used, the previous one stays in effect.
func (s *Daemon) reload(ctx context.Context) {
	next, err := s.reconfigure(ctx)
	s.reloaded.Set(0)
	if err != nil {
		s.log.Error("the configuration cannot be used: the previous one stays in effect", zap.Error(err))
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

// errOpen is the error for a reload that would remove the login. The file may be only half-written.
var errOpen = errors.New("the new configuration requires no login, the previous one did: restart the server if this is intended")

// reconfigure reads the configuration, and applies what can change without a restart.
func (s *Daemon) reconfigure(ctx context.Context) (*settings.Serve, error) {
	next, err := s.flags.Again()
	if err != nil {
		return nil, err
	}
	if s.private && !next.Auth.On() {
		return nil, errOpen
	}
	// The store and the drop directory cannot change without a restart.
	if err := overlap.Check(s.flags.Places(next.Config.Sources)...); err != nil {
		return nil, err
	}
	guarded, err := s.guarded(next.Auth)
	if err != nil {
		return nil, err
	}
	next.VerifyKey = s.flags.VerifyKey // The key cannot change without a restart.
	if len(s.live.Snapshot().Places()) > 0 {
		next.S3 = s.s3 // Nor can the object store, while sources are in it.
	}
	options := monitored(s.reach, next.Options(next.Sources(s.flags.Store.Dir)))
	options.CacheDir, options.Settle = s.flags.CacheDir, s.flags.Settle // These cannot change without a restart, either.

	// The credentials change before the sources: only clients with the new credentials may get the
	// new content.
	before := s.pulls.Swap(guarded)
	err = s.live.reconfigure(ctx, options)
	// A bucket that no source is read from any more, or of a configuration that cannot be used, must not
	// make this server unready.
	s.reach.KeepPlaces(s.live.Snapshot().Places())
	if err != nil {
		s.pulls.Store(before)
		return nil, err
	}
	s.private, s.s3 = next.Auth.On(), next.S3
	s.follower.setEditionSplit(next.NoEditionSplit)
	return next, nil
}
