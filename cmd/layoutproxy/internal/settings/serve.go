// Package settings combines flags, the environment and a YAML file into one typed configuration, and
// checks it before anything is read or changed. It also has the flags that several commands share.
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

// Serve is the configuration of serve, from flags, the environment and the file.
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

// AddFlags adds the flags of serve to a set. The environment and the configuration file can set each
// of them too.
func (s *Serve) AddFlags(f *pflag.FlagSet) {
	s.Tree.AddFlags(f)
	f.BoolVar(&s.S3.Redirect, "s3-redirect", false, "redirect clients to the object store for blobs that are objects of their own")
	f.StringVar(&s.S3.PublicEndpoint, "s3-public-endpoint", "", "`URL` by which clients reach the object store, for --s3-redirect; empty means --s3-endpoint")
	s.Config.AddFlags(f)
	f.StringVar(&s.Listen, "listen", "127.0.0.1:5000", "`address` of the registry API; port 0 picks a free port")
	f.StringVar(&s.AdminListen, "admin-listen", "127.0.0.1:5580", "`address` of the page for people, /healthz, /readyz, /metrics, /status and POST /rescan; empty means off")
	f.StringVar(&s.AddressFile, "address-file", "", "`file` that gets the lines registry=HOST:PORT and admin=HOST:PORT once the server listens")
	f.DurationVar(&s.ShutdownTimeout, "shutdown-timeout", 30*time.Second, "how long running transfers may continue after SIGTERM")
	f.BoolVar(&s.Strict, "strict", false, "exit with 3 at the start if anything cannot be served")
	f.DurationVar(&s.Rescan, "rescan", 10*time.Second, "how often to rescan the sources, in addition to file-system events; 0 means never")
	f.DurationVar(&s.Settle, "settle", 3*time.Second, "how long an archive or a dropped bundle must be unchanged before it is read")
	f.BoolVar(&s.Pprof, "pprof", false, "serve profiles of the running program at /debug/pprof/ of the admin address")
	f.StringVar(&s.TraceEndpoint, "trace-endpoint", "", "`URL` of an OpenTelemetry collector (OTLP over HTTP) that gets one span per request; env reads the URL from OTEL_EXPORTER_OTLP_ENDPOINT, empty means off")
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
// configuration file. A malformed value is an [exit.UsageError].
func (s *Serve) Complete(set *pflag.FlagSet, args, environ []string) error {
	if err := s.Config.complete(set, args, environ); err != nil {
		return err
	}
	s.sourceRoots = s.Config.Roots
	return nil
}

// Again reads the configuration file again, and combines it with the same flags and environment.
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

// Check returns an error for wrong values, and for flags that cannot be combined.
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
		return exit.UsageError(errors.New("--s3-public-endpoint: it has an effect only with --s3-redirect"))
	}
	if s.TraceEndpoint != "" {
		if err := trace.CheckEndpoint(s.TraceEndpoint); err != nil {
			return exit.UsageError(exit.WithHint(err, "name the collector, as --trace-endpoint http://127.0.0.1:4318"))
		}
	}
	_, err := ParseRate(s.Scrub)
	err = cmp.Or(err, s.TLS.check(""), s.Admin.check(s.AdminListen), s.Auth.check(), s.Clients.check(), s.Store.check())
	if err != nil {
		return err
	}
	return overlap.Check(s.Places(s.Config.Sources)...)
}

// checkListen returns an error for a malformed address.
func checkListen(flag, address string) error {
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err == nil {
		return nil
	}
	return exit.UsageError(exit.WithHint(fmt.Errorf("--%s %s: malformed address", flag, address), "write it as HOST:PORT, as 127.0.0.1:5000, or :5000 for all addresses"))
}

// Sources returns all sources, the store last, so that its tags win.
func (s *Serve) Sources(store string) []string {
	if store == "" {
		return s.Config.Sources
	}
	return append(slices.Clone(s.Config.Sources), store)
}

// Places returns the directories and files that must not overlap: those of the flags, and sources.
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

// QuarantineDir returns the directory for the records of blobs that a scrub found damaged, or empty.
func (s *Serve) QuarantineDir() string {
	if s.CacheDir == "" {
		return ""
	}
	return filepath.Join(s.CacheDir, "quarantine")
}

// ParseRate parses a rate such as 10MB/s into bytes per second. Empty means 0.
func ParseRate(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := humanize.ParseBytes(strings.TrimSuffix(text, "/s"))
	if err != nil || n == 0 || n > math.MaxInt64 {
		return 0, exit.UsageError(fmt.Errorf("--scrub %s: not a rate, which is written as 10MB/s or 512KiB/s", text))
	}
	return int64(n), nil
}
