// Package daemon implements `layoutproxy serve`. It runs the registry and the admin address, keeps
// the tree up to date, reloads the configuration and runs the background jobs.
//
// [New] scans the sources and listens. [Daemon.Run] serves until its context ends.
package daemon

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/pruning"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/source"
	"github.com/layoutproxy/layoutproxy/importer/drop"
	"github.com/layoutproxy/layoutproxy/importer/verify"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/outage"
	"github.com/layoutproxy/layoutproxy/layoutstore/wait"
)

// Options configure a daemon.
type Options struct {
	Settings *settings.Serve
	Version  string // version of layoutproxy, such as v1.2.3
	Log      *zap.Logger
	Problems io.Writer // With --strict, New writes the problems that it found to this writer.

	opened func(fs.FileInfo) // set only by tests; see layoutstore.Options.Opened
}

// Daemon is the running server.
type Daemon struct {
	log     *zap.Logger
	version string
	// flags and sources are those of the start. A reload does not change them.
	flags    *settings.Serve
	sources  []string
	live     *liveTree
	reach    *outage.Monitor // monitor that knows which buckets cannot be reached
	verdicts *verdicts
	refusals *refusals
	disks    *disks
	upstream upstream
	draining atomic.Bool
	reloaded prometheus.Gauge
	// pulls serves the registry, with the login that the current configuration requires.
	pulls atomic.Pointer[http.Handler]
	// private is whether the handler in pulls requires a login.
	private bool
	// s3 is how the object store is reached. A reload changes it only while no source is in a bucket.
	s3 settings.S3
	// drop, follower, prunes and scrub are nil if the flags do not enable them.
	drop       *drop.Drop
	follower   *follower
	prunes     *pruner
	hangup     chan os.Signal
	notify     notifier
	scrub      *verify.Scrub
	servers    []listening
	untrace    func() // sends the remaining trace spans
	stuckAfter time.Duration
}

// requestPatience is how long a request waits for a disk. A sleeping disk spins up sooner, and
// clients give up later.
const requestPatience = 15 * time.Second

// New scans the sources, listens on the addresses and writes the address file. If ctx ends during
// the scan, New fails.
func New(ctx context.Context, o Options) (_ *Daemon, err error) {
	if err := o.Settings.Check(); err != nil {
		return nil, err
	}
	if o.Settings.VerifyKey, err = o.Settings.Key.Read(); err != nil {
		return nil, err
	}
	if err := prepareStore(ctx, o.Log, o.Settings.Store.Dir); err != nil {
		return nil, err
	}
	sources := o.Settings.Sources(o.Settings.Store.Dir)
	options := o.Settings.Options(sources)
	// Blobs that an earlier process has quarantined are refused from the start.
	options.QuarantineDir = o.Settings.QuarantineDir()
	options.Patience, options.Opened = requestPatience, o.opened
	options.Store = o.Settings.Store.Dir
	reach := newMonitor(o.Log)
	tree, err := open(ctx, o.Log, reach, monitored(reach, options), o.Settings.Rescan)
	if err != nil {
		return nil, err
	}
	if o.Settings.Strict {
		if err := checkStrictly(ctx, tree, o.Problems); err != nil {
			return nil, err
		}
	}
	s := &Daemon{log: o.Log, version: o.Version, reach: reach, flags: o.Settings, sources: sources, s3: o.Settings.S3, live: newLiveTree(o.Log, tree, sources, o.Settings.Rescan),
		refusals: newRefusals(o.Log), disks: newDisks(o.Settings), reloaded: newReloaded(), notify: newNotifier(o.Log), hangup: hangups(), stuckAfter: stuckAfter}
	s.verdicts = newVerdicts(o.Log, tree)
	if err := s.start(); err != nil {
		s.close()
		return nil, err
	}
	s.announce(ctx)
	return s, nil
}

// start creates the handlers and the background jobs, and listens on the addresses.
func (s *Daemon) start() (err error) {
	metrics := prometheus.NewRegistry()
	if s.follower, err = newFollower(s.log, s.flags, metrics); err != nil {
		return err
	}
	s.live.onChange = s.follower.push
	published := func(ctx context.Context) {
		s.live.rescan(ctx)
		s.follower.push() // an import may repair the store without a change of the tree
	}
	if s.drop, err = newDropDirectory(s.log, s.flags, metrics, s.guardDrop, published); err != nil {
		return err
	}
	if s.prunes, err = newPruner(s.log, s.flags, metrics, s.live.rescan); err != nil {
		return err
	}
	api, err := s.api(metrics)
	if err != nil {
		return err
	}
	if s.scrub, err = s.newScrub(metrics); err != nil {
		return err
	}
	if err := s.listenRegistry(api, metrics); err != nil {
		return err
	}
	if err := s.listenAdmin(metrics); err != nil {
		return err
	}
	if s.flags.AddressFile != "" {
		return s.writeAddresses(s.flags.AddressFile)
	}
	return nil
}

// listenRegistry listens on the registry address. TLS and the limit on connections depend on the
// flags.
func (s *Daemon) listenRegistry(api http.Handler, metrics *prometheus.Registry) error {
	if err := s.listen("registry", s.flags.Listen, api); err != nil {
		return err
	}
	if err := limitConnections(&s.flags.Clients, s.servers[0].Server, metrics); err != nil {
		return err
	}
	return s.encrypt("", s.flags.TLS)
}

// listenAdmin listens on the admin address, if the flags set one.
func (s *Daemon) listenAdmin(metrics *prometheus.Registry) error {
	if s.flags.AdminListen == "" {
		return nil
	}
	page, err := s.newPage()
	if err != nil {
		return err
	}
	guarded, err := guardAdmin(s.adminHandler(page, metrics), s.flags, s.log)
	if err != nil {
		return err
	}
	if err := s.listen("admin", s.flags.AdminListen, guarded); err != nil {
		return err
	}
	// A page that is open in a browser must not keep the server from stopping.
	s.servers[len(s.servers)-1].RegisterOnShutdown(page.Close)
	return s.encrypt("admin-", s.flags.Admin.TLS)
}

// encrypt makes the server that was added last use TLS, if the flags name certificate files. prefix
// is the beginning of the flags' names: "" or "admin-".
func (s *Daemon) encrypt(prefix string, files settings.TLS) (err error) {
	s.servers[len(s.servers)-1].TLSConfig, err = newTLS(s.log, prefix, files)
	return err
}

func (s *Daemon) close() {
	signal.Stop(s.hangup)
	if s.untrace != nil {
		s.untrace()
	}
	for _, l := range s.servers {
		l.Listener.Close()
	}
}

// Run serves until ctx ends. Then it waits for running transfers, at most until the shutdown
// timeout. A second SIGTERM or SIGINT cuts the transfers at once.
func (s *Daemon) Run(ctx context.Context) error {
	group, groupCtx := errgroup.WithContext(ctx)
	for _, l := range s.servers {
		group.Go(l.serve)
	}
	defer s.untrace()
	s.notify.send("READY=1")
	group.Go(func() error { return s.untilStuck(groupCtx, "the watcher of the sources", s.live.run) })
	group.Go(func() error { return s.untilStuck(groupCtx, "the monitor of the buckets", s.reach.Run) })
	group.Go(func() error { return s.untilStuck(groupCtx, "the judge of versions", s.verdicts.run) })
	if s.drop != nil {
		group.Go(func() error { return s.drop.Run(groupCtx) })
	}
	group.Go(func() error { return s.untilStuck(groupCtx, "the push", s.follower.run) })
	group.Go(func() error { return s.prunes.run(groupCtx) })
	group.Go(func() error {
		return s.untilStuck(groupCtx, "a reload", func(ctx context.Context) error { s.onHangup(ctx); return nil })
	})
	if s.scrub != nil {
		group.Go(func() error { return s.untilStuck(groupCtx, "the scrub", s.scrub.Run) })
	}
	group.Go(func() error {
		<-groupCtx.Done()
		s.draining.Store(true)
		again := make(chan os.Signal, 1)
		signal.Notify(again, syscall.SIGTERM, os.Interrupt)
		defer signal.Stop(again)
		s.notify.send("STOPPING=1")
		s.log.Info("stopping: waiting for running transfers", zap.Duration("timeout", s.flags.ShutdownTimeout))
		s.drain(again, s.flags.ShutdownTimeout)
		return nil
	})
	return group.Wait()
}

// stuckAfter is how long the program waits at its exit for jobs that may be cut off at any time.
const stuckAfter = 2 * time.Second

// untilStuck runs a job that may be cut off at any time, and returns its error. Once ctx has ended, it
// waits only s.stuckAfter for the job, so that storage that hangs does not keep the program running.
func (s *Daemon) untilStuck(ctx context.Context, what string, run func(context.Context) error) error {
	patient, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(s.stuckAfter, stop) })()
	_, err := wait.For(patient, func() (struct{}, error) { return struct{}{}, run(ctx) }, nil)
	if err != nil && patient.Err() != nil {
		s.log.Warn("the storage does not answer: layoutproxy stops waiting for it", zap.String("reader", what))
		return nil
	}
	return err
}

// drain stops the servers. The admin address stops last: until then, clients can query /readyz.
func (s *Daemon) drain(again <-chan os.Signal, timeout time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	go func() {
		select {
		case <-again:
			s.log.Warn("stopping at once")
			cancel()
		case <-ctx.Done():
		}
	}()
	for _, l := range s.servers {
		if err := l.Shutdown(ctx); err != nil {
			s.log.Warn("running transfers were interrupted", zap.String("listener", l.name), zap.Error(err))
			l.Server.Close()
		}
	}
}

// checkStrictly prints the problems of the tree to stderr, and returns an error if there are any.
func checkStrictly(ctx context.Context, tree *layoutstore.Tree, stderr io.Writer) error {
	s, err := source.Check(ctx, tree)
	if err != nil {
		return err
	}
	problems, err := s.Problems(ctx)
	if err != nil {
		return err
	}
	for _, source := range s.Sources() {
		if source.State == "waiting" { // Without --strict, the server would start, and serve everything except this source.
			problems = append(problems, layoutstore.Problem{Kind: layoutstore.Incomplete, Path: source.Path, Reason: source.Detail})
		}
	}
	for _, p := range problems {
		fmt.Fprintln(stderr, p)
	}
	if len(problems) > 0 {
		return exit.ProblemsError(len(problems))
	}
	return nil
}

// Check checks the settings and the files that they name. It does not read the sources.
func Check(o Options) error {
	flags := o.Settings
	if err := flags.Check(); err != nil {
		return err
	}
	sources := flags.Sources(flags.Store.Dir)
	if err := exit.SourceError(flags.Options(sources).Check()); err != nil {
		return err
	}
	if err := flags.S3.Check(sources); err != nil {
		return err
	}
	if err := flags.Store.CheckPush(); err != nil {
		return err
	}
	if _, err := flags.Key.Read(); err != nil {
		return err
	}
	if flags.Store.PrunePolicy != "" {
		if _, err := pruning.ReadPolicy(flags.Store.PrunePolicy); err != nil {
			return err
		}
	}
	if _, err := newTLS(o.Log, "", flags.TLS); err != nil {
		return err
	}
	if _, err := newTLS(o.Log, "admin-", flags.Admin.TLS); err != nil {
		return err
	}
	if _, err := guardAdmin(http.NotFoundHandler(), flags, o.Log); err != nil {
		return err
	}
	_, untrace, err := traced(flags.TraceEndpoint, o.Version, http.NotFoundHandler(), o.Log)
	if err != nil {
		return err
	}
	untrace() // sends nothing, because there are no spans
	_, err = authenticated(flags.Auth, http.NotFoundHandler(), o.Log)
	return err
}
