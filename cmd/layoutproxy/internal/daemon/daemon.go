// Package daemon is what `layoutproxy serve` runs: the registry and the admin address, the refresh of the
// tree, the reload of the configuration, and the background jobs.
//
// [New] scans the sources and listens; [Daemon.Run] serves until its context ends.
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
	Version  string // of the program
	Log      *zap.Logger
	Problems io.Writer // gets the problems that keep a strict server from starting

	opened func(fs.FileInfo) // for tests: see layoutstore.Options
}

// Daemon is the running server.
type Daemon struct {
	log        *zap.Logger
	version    string
	flags      *settings.Serve // as at the start
	sources    []string        // as at the start
	live       *liveTree
	reach      *outage.Monitor // the buckets
	verdicts   *verdicts
	refusals   *refusals
	disks      *disks
	upstream   upstream
	draining   atomic.Bool
	reloaded   prometheus.Gauge
	pulls      atomic.Pointer[http.Handler] // with the authentication of the current configuration
	private    bool                         // whether pulls requires credentials
	drop       *drop.Drop                   // nil without a drop directory
	follower   *follower                    // nil without a registry to push to
	prunes     *pruner                      // nil without a store
	hangup     chan os.Signal
	notify     notifier
	scrub      *verify.Scrub // nil without --scrub
	servers    []listening
	untrace    func() // sends the last spans
	stuckAfter time.Duration
}

// requestPatience is how long a request waits for a disk: longer than a disk needs to
// spin up, and shorter than clients wait.
const requestPatience = 15 * time.Second

// New scans the sources, listens on the addresses and writes them to the address file.
// The context bounds the scan.
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
	// What an earlier process quarantined is refused from the start.
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
	s := &Daemon{log: o.Log, version: o.Version, reach: reach, flags: o.Settings, sources: sources, live: newLiveTree(o.Log, tree, sources, o.Settings.Rescan),
		refusals: newRefusals(o.Log), disks: newDisks(o.Settings.Store.Dir, o.Settings.Store.DropDir, o.Settings.CacheDir), reloaded: newReloaded(), notify: newNotifier(o.Log), hangup: hangups(), stuckAfter: stuckAfter}
	s.verdicts = newVerdicts(o.Log, tree)
	if err := s.start(); err != nil {
		s.close()
		return nil, err
	}
	s.announce(ctx)
	return s, nil
}

// start makes the handlers and the background jobs, and listens on the addresses.
func (s *Daemon) start() (err error) {
	metrics := prometheus.NewRegistry()
	if s.follower, err = newFollower(s.log, s.flags); err != nil {
		return err
	}
	published := func(ctx context.Context) {
		s.live.rescan(ctx)
		s.follower.push()
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

// listenRegistry listens for the registry API, with TLS and a limit on connections where
// the flags ask for them.
func (s *Daemon) listenRegistry(api http.Handler, metrics *prometheus.Registry) error {
	if err := s.listen("registry", s.flags.Listen, api); err != nil {
		return err
	}
	if err := limitConnections(&s.flags.Clients, s.servers[0].Server, metrics); err != nil {
		return err
	}
	return s.encrypt("", s.flags.TLS)
}

// listenAdmin listens on the admin address, if the flags name one.
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
	// Otherwise a page that is open in a browser would keep the server from stopping.
	s.servers[len(s.servers)-1].RegisterOnShutdown(page.Close)
	return s.encrypt("admin-", s.flags.Admin.TLS)
}

// encrypt makes the last server use TLS, if there are files for it. prefix begins the names of
// their flags.
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

// Run serves until ctx ends. Then it lets running transfers complete within the shutdown timeout;
// another SIGTERM or SIGINT cuts them.
func (s *Daemon) Run(ctx context.Context) error {
	group, groupCtx := errgroup.WithContext(ctx)
	for _, l := range s.servers {
		group.Go(l.serve)
	}
	defer s.untrace()
	s.notify.send("READY=1")
	group.Go(func() error { return s.untilStuck(groupCtx, "the watch of the sources", s.live.run) })
	group.Go(func() error { return s.untilStuck(groupCtx, "the watch of the buckets", s.reach.Run) })
	group.Go(func() error { return s.untilStuck(groupCtx, "the verdicts on versions", s.verdicts.run) })
	if s.drop != nil {
		group.Go(func() error { return s.drop.Run(groupCtx) })
	}
	group.Go(func() error { return s.follower.run(groupCtx) })
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

// stuckAfter is how long the program waits for jobs that only read before it exits.
const stuckAfter = 2 * time.Second

// untilStuck runs a job that only reads, and returns when the job does. After ctx has ended it
// waits only for s.stuckAfter, so that a storage that hangs does not keep the program running.
func (s *Daemon) untilStuck(ctx context.Context, what string, run func(context.Context) error) error {
	patient, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(s.stuckAfter, stop) })()
	_, err := wait.For(patient, func() (struct{}, error) { return struct{}{}, run(ctx) }, nil)
	if err != nil && patient.Err() != nil {
		s.log.Warn("the storage does not answer: not waiting for it any longer", zap.String("reader", what))
		return nil
	}
	return err
}

// drain stops the servers, the admin one last, so that clients can query readiness until the end.
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
			s.log.Warn("transfers were cut", zap.String("listener", l.name), zap.Error(err))
			l.Server.Close()
		}
	}
}

// checkStrictly fails if the snapshot has a problem of any kind.
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
		if source.State == "waiting" { // the server would start without it
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

// Check checks the settings and the files that they name, but not the sources.
func Check(o Options) error {
	flags := o.Settings
	if err := flags.Check(); err != nil {
		return err
	}
	if err := exit.SourceError(flags.Options(flags.Sources(flags.Store.Dir)).Check()); err != nil {
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
	_, err := authenticated(flags.Auth, http.NotFoundHandler(), o.Log)
	return err
}
