package daemon

import (
	"context"
	"testing"

	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// inProcess runs a server in this process and returns its addresses. args are flags and sources.
// Repository names have no root, and rescans are off, unless args say otherwise.
func inProcess(t *testing.T, args ...string) (registry, admin string) {
	t.Helper()
	s := running(t, args...)
	return s.servers[0].Listener.Addr().String(), s.servers[1].Listener.Addr().String()
}

// running is like inProcess, but returns the server itself.
func running(t *testing.T, args ...string) *Daemon {
	t.Helper()
	return runningWith(t, append([]string{"--root-repository", "", "--rescan", "0", "--settle", "0", "--cache-dir", ""}, args...)...)
}

// runningWith is like running, but only args set flags, except for the addresses.
func runningWith(t *testing.T, args ...string) *Daemon {
	t.Helper()
	args = append([]string{"--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, args...)
	s, err := New(t.Context(), Options{Settings: settingsOf(t, args...), Log: zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel))})
	layouttest.Try(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

// settingsOf returns the settings for a command line of serve.
func settingsOf(t *testing.T, args ...string) *settings.Serve {
	t.Helper()
	flags, set := &settings.Serve{}, pflag.NewFlagSet("serve", pflag.ContinueOnError)
	(&console.Output{}).AddFlags(set)
	flags.AddFlags(set)
	layouttest.Try(t, set.Parse(args))
	layouttest.Try(t, flags.Complete(set, set.Args(), nil))
	return flags
}
