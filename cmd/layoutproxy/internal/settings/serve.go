// Package settings combines flags, environment variables and a YAML file into one configuration. It
// checks the configuration before the program reads or changes anything. It also contains the flags
// that several commands share.
package settings

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/overlap"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/registry/trace"
)

// Serve is the configuration of layoutproxy serve.
type Serve struct {
	Tree
	Listen          string
	AdminListen     string
	AddressFile     string
	ShutdownTimeout time.Duration
	Strict          bool
	Rescan          time.Duration
	Pprof           bool
	AccessLog       bool
	Scrub           string
	Key             VerifyKey
	TLS             TLS
	Admin           Admin
	Auth            Auth
	Clients         Clients
	TraceEndpoint   string
	Store           Store
	Config          Configuration
}

// AddFlags adds all flags of serve. Each can also be set by the environment and, with few
// exceptions, by the configuration file.
func (s *Serve) AddFlags(f *pflag.FlagSet) {
	s.Tree.AddFlags(f)
	f.BoolVar(&s.S3.Redirect, "s3-redirect", false, "redirect clients to the object store for each blob that is a separate object there, not part of an archive")
	f.StringVar(&s.S3.PublicEndpoint, "s3-public-endpoint", "", "`URL` of the object store as clients reach it, for --s3-redirect; empty means --s3-endpoint")
	s.Config.AddFlags(f)
	f.StringVar(&s.Listen, "listen", "127.0.0.1:5000", "`address` of the registry API; port 0 means any free port")
	f.StringVar(&s.AdminListen, "admin-listen", "127.0.0.1:5580", "`address` of the web page, /healthz, /readyz, /metrics, /status and POST /rescan; empty means off")
	f.StringVar(&s.AddressFile, "address-file", "", "`file` to write the lines registry=HOST:PORT and admin=HOST:PORT into, once the server listens")
	f.DurationVar(&s.ShutdownTimeout, "shutdown-timeout", 30*time.Second, "how long running transfers may continue after SIGTERM")
	f.BoolVar(&s.Strict, "strict", false, "do not start if anything cannot be served; exit with 3 instead")
	f.DurationVar(&s.Rescan, "rescan", 10*time.Second, "how often to rescan the sources, in addition to file-system events; 0 means never")
	f.DurationVar(&s.Settle, "settle", 3*time.Second, "how long an archive or a dropped bundle must be unchanged before it is read")
	f.BoolVar(&s.Pprof, "pprof", false, "serve profiles of the running program at /debug/pprof/ on the admin address")
	f.StringVar(&s.TraceEndpoint, "trace-endpoint", "", "`URL` of an OpenTelemetry collector (OTLP over HTTP) that gets one span per request; \"env\" means the URL in OTEL_EXPORTER_OTLP_ENDPOINT, empty means off")
	f.BoolVar(&s.AccessLog, "access-log", false, "log one line per request")
	f.StringVar(&s.Scrub, "scrub", "", "read all blobs in the background at this `rate`, such as 10MB/s, and refuse damaged ones; empty means off")
	s.Admin.AddFlags(f)
	s.Key.AddFlags(f, "serve and import")
	s.TLS.AddFlags(f)
	s.Auth.AddFlags(f)
	s.Clients.AddFlags(f)
	s.Store.AddFlags(f)
}

// Complete sets the flags that the command line does not set, from the environment and the
// configuration file. It returns an [exit.UsageError] for malformed values.
func (s *Serve) Complete(set *pflag.FlagSet, args, environ []string) error {
	if err := s.Config.complete(set, args, environ); err != nil {
		return err
	}
	s.sourceRoots = s.Config.Roots
	return nil
}

// Again reads the configuration file again. It returns the new configuration, with the flags of the
// command line and the environment as before.
func (s *Serve) Again() (*Serve, error) {
	set := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	(&console.Output{}).AddFlags(set)
	next := &Serve{}
	next.AddFlags(set)
	for name, values := range s.Config.given {
		if flag := set.Lookup(name); flag != nil {
			if err := setFlag(flag, values); err != nil {
				return nil, err
			}
		}
	}
	if err := next.Complete(set, s.Config.args, os.Environ()); err != nil {
		return nil, err
	}
	return next, next.Check()
}

// Check returns an error for invalid values, and for flags that cannot be combined.
func (s *Serve) Check() error {
	switch {
	case s.Settle < 0:
		return exit.UsageError(fmt.Errorf("--settle %s: must not be negative", s.Settle))
	case s.Rescan < 0:
		return exit.UsageError(fmt.Errorf("--rescan %s: must not be negative", s.Rescan))
	case s.ShutdownTimeout < 0:
		return exit.UsageError(fmt.Errorf("--shutdown-timeout %s: must not be negative", s.ShutdownTimeout))
	}
	if err := checkListen("listen", s.Listen); err != nil {
		return err
	}
	if s.AdminListen != "" {
		if err := checkListen("admin-listen", s.AdminListen); err != nil {
			return err
		}
	}
	if s.S3.PublicEndpoint != "" && !s.S3.Redirect {
		return exit.UsageError(errors.New("--s3-public-endpoint has no effect without --s3-redirect"))
	}
	if s.TraceEndpoint != "" {
		if err := trace.CheckEndpoint(s.TraceEndpoint); err != nil {
			return exit.UsageError(exit.WithHint(err, "name the URL of the collector, for example --trace-endpoint http://127.0.0.1:4318"))
		}
	}
	_, err := ParseRate(s.Scrub)
	err = cmp.Or(err, s.TLS.check(""), s.Admin.check(s.AdminListen), s.Auth.check(), s.Clients.check(), s.Store.check())
	if err != nil {
		return err
	}
	return overlap.Check(s.Places(s.Config.Sources)...)
}

// checkListen returns an error if an address is malformed.
func checkListen(flag, address string) error {
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err == nil {
		return nil
	}
	return exit.UsageError(exit.WithHint(fmt.Errorf("--%s %s: malformed address", flag, address), "write the address as HOST:PORT, for example 127.0.0.1:5000, or :5000 for all addresses of this machine"))
}

// Sources returns all sources. The store is the last one, so its tags win.
func (s *Serve) Sources(store string) []string {
	if store == "" {
		return s.Config.Sources
	}
	return append(slices.Clone(s.Config.Sources), store)
}

// Places returns the directories and files that must not overlap: store, drop directory, cache and
// sources.
func (s *Serve) Places(sources []string) []overlap.Place {
	all := []overlap.Place{{Role: overlap.Store, Path: s.Store.Dir}, {Role: overlap.Drop, Path: s.Store.DropDir}}
	for _, name := range sources {
		if !bucket.IsPlace(name) {
			all = append(all, overlap.Place{Role: overlap.Source, Path: name})
		}
	}
	all = append(all, overlap.Place{Role: overlap.Cache, Path: s.CacheDir})
	return slices.DeleteFunc(all, func(p overlap.Place) bool { return p.Path == "" })
}

// QuarantineDir returns the directory for the records of damaged blobs that a scrub has found, or
// "" without a cache directory.
func (s *Serve) QuarantineDir() string {
	if s.CacheDir == "" {
		return ""
	}
	return filepath.Join(s.CacheDir, "quarantine")
}

// ParseRate parses a rate such as 10MB/s, and returns bytes per second. An empty text means 0.
func ParseRate(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := humanize.ParseBytes(strings.TrimSuffix(text, "/s"))
	if err != nil || n == 0 || n > math.MaxInt64 {
		return 0, exit.UsageError(fmt.Errorf("--scrub %s: malformed rate: write a rate such as 10MB/s or 512KiB/s", text))
	}
	return int64(n), nil
}
