// Package settings makes one typed configuration of flags, the environment and a YAML file, and checks it
// before anything is read or changed. Groups of flags that several commands have are here too.
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
	Trace           Trace
	Store           Store
	Config          Configuration
}

// AddFlags adds the flags of serve to a set; the environment and the configuration file
// have each of them by itself.
func (s *Serve) AddFlags(f *pflag.FlagSet) {
	s.Tree.AddFlags(f)
	s.S3.AddRedirectFlags(f)
	s.Config.AddFlags(f)
	f.StringVar(&s.Listen, "listen", "127.0.0.1:5000", "`address` of the registry API; port 0 picks a free port")
	f.StringVar(&s.AdminListen, "admin-listen", "127.0.0.1:5580", "`address` of the page for people, /healthz, /readyz, /metrics, /status and POST /rescan; empty means off")
	f.StringVar(&s.AddressFile, "address-file", "", "`file` that gets the lines registry=HOST:PORT and admin=HOST:PORT once the server listens")
	f.DurationVar(&s.ShutdownTimeout, "shutdown-timeout", 30*time.Second, "how long running transfers may continue after SIGTERM")
	f.BoolVar(&s.Strict, "strict", false, "exit with 3 at the start if anything cannot be served")
	f.DurationVar(&s.Rescan, "rescan", 10*time.Second, "how often to rescan the sources, in addition to file-system events; 0 means never")
	f.DurationVar(&s.Settle, "settle", 3*time.Second, "how long an archive or a dropped bundle must be unchanged before it is read")
	f.BoolVar(&s.Pprof, "pprof", false, "serve profiles of the running program at /debug/pprof/ of the admin address")
	f.BoolVar(&s.AccessLog, "access-log", false, "log one line per request")
	f.StringVar(&s.Scrub, "scrub", "", "read all blobs in the background at this `rate`, such as 10MB/s, and refuse damaged ones; empty means off")
	s.Admin.AddFlags(f)
	s.Key.AddFlags(f, "serve and import")
	s.TLS.AddFlags(f)
	s.Auth.AddFlags(f)
	s.Clients.AddFlags(f)
	s.Trace.AddFlags(f)
	s.Store.AddFlags(f)
}

// Complete returns that of the configuration.
func (s *Serve) Complete(set *pflag.FlagSet, args, environ []string) error {
	if err := s.Config.complete(set, args, environ); err != nil {
		return err
	}
	s.sourceRoots = s.Config.Roots
	return nil
}

// Again returns the flags that the same command line and environment give with the file
// as it is now.
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

// Check finds errors in the flags before anything is read.
func (s *Serve) Check() error {
	if s.Settle < 0 {
		return exit.UsageError(fmt.Errorf("--settle %s: must not be negative", s.Settle))
	}
	if s.Rescan < 0 {
		return exit.UsageError(fmt.Errorf("--rescan %s: must not be negative", s.Rescan))
	}
	if s.ShutdownTimeout < 0 {
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
	_, err := ParseRate(s.Scrub)
	err = cmp.Or(err, s.TLS.Check(), s.Admin.check(s.AdminListen), s.Auth.check(), s.Clients.check(), s.Trace.check(), s.Store.check())
	if err != nil {
		return err
	}
	return overlap.Check(s.Places(s.Config.Sources)...)
}

// checkListen finds an address that nothing can listen on.
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

// Sources returns all sources with the store, which is the last one and so wins a tag.
func (s *Serve) Sources(store string) []string {
	if store == "" {
		return s.Config.Sources
	}
	return append(slices.Clone(s.Config.Sources), store)
}

// Places returns the directories and files that the flags name, with other sources.
func (s *Serve) Places(sources []string) (all []overlap.Place) {
	add := func(r overlap.Role, name string) {
		if name != "" {
			all = append(all, overlap.Place{Role: r, Path: name})
		}
	}
	add(overlap.Store, s.Store.Dir)
	add(overlap.Drop, s.Store.Drop.Dir)
	for _, name := range sources {
		if !bucket.IsPlace(name) {
			add(overlap.Source, name)
		}
	}
	add(overlap.Cache, s.CacheDir)
	return all
}

// QuarantineDir returns where a server keeps what its scrubs found damaged, or empty.
func (s *Serve) QuarantineDir() string {
	if s.CacheDir == "" {
		return ""
	}
	return filepath.Join(s.CacheDir, "quarantine")
}

// ParseRate reads a rate as 10MB/s, in bytes a second; the empty one is 0.
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
