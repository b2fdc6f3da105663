package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/overlap"
	"github.com/layoutproxy/layoutproxy/importer/verify"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/wait"
	"github.com/layoutproxy/layoutproxy/registry"
	"github.com/layoutproxy/layoutproxy/registry/observe"
)

// server is the program while it serves.
type server struct {
	log        *zap.Logger
	flags      *serveFlags // as at the start
	live       *live
	admin      *admin
	refusals   *refusals
	reloaded   prometheus.Gauge
	pulls      pulls
	private    bool       // whether pulls asks for credentials
	dropping   *dropping  // nil without a drop directory
	follows    *following // nil without a registry to push to
	hangup     chan os.Signal
	notify     notifier
	scrub      *verify.Scrub // nil where none is wanted
	servers    []listening
	untrace    func() // sends the last spans
	stuckAfter time.Duration
}

// listening is an HTTP server and where it listens.
type listening struct {
	name string
	*http.Server
	net.Listener
}

// newServer listens on the addresses and says where in the address file.
func newServer(log *zap.Logger, flags *serveFlags, tree *layoutstore.Tree, sources []string) (_ *server, err error) {
	s := &server{log: log, flags: flags, live: newLive(log, tree, sources, flags.rescan), refusals: newRefusals(log), reloaded: newReloaded(), notify: newNotifier(log), hangup: hangups(), stuckAfter: stuckAfter}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	metrics := prometheus.NewRegistry()
	if s.follows, err = newFollowing(log, flags); err != nil {
		return nil, err
	}
	published := func(ctx context.Context) {
		s.live.look(ctx)
		s.follows.push()
	}
	if s.dropping, err = newDropping(log, flags, s.guardDrop, published); err != nil {
		return nil, err
	}
	if s.dropping != nil {
		if err = metrics.Register(s.dropping); err != nil {
			return nil, err
		}
	}
	api, err := s.api(tree, flags, metrics)
	if err != nil {
		return nil, err
	}
	if s.scrub, err = s.newScrub(flags, metrics); err != nil {
		return nil, err
	}
	if err = s.listen("registry", flags.listen, api); err != nil {
		return nil, err
	}
	if err = flags.clients.connected(s.servers[0].Server, metrics); err != nil {
		return nil, err
	}
	if flags.tls.on() {
		certificates, err := newCertificates(log, flags.tls)
		if err != nil {
			return nil, err
		}
		s.servers[0].TLSConfig = certificates.config()
	}
	s.admin = &admin{live: s.live, dropping: s.dropping, follows: s.follows, refusals: s.refusals, metrics: metrics, pprof: flags.pprof}
	if flags.adminListen != "" {
		if err = s.listen("admin", flags.adminListen, s.admin.handler()); err != nil {
			return nil, err
		}
	}
	if flags.addressFile != "" {
		if err = s.writeAddresses(flags.addressFile); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// guardDrop says why nothing may be moved or removed in the drop directory: a link or a
// mount has changed since the start, and it overlaps with what is served.
func (s *server) guardDrop() error {
	sources := s.live.paths()
	return overlap.Guard(s.flags.places(sources[:len(sources)-1])...) // the last is the store
}

// api is the registry with its middleware and metrics.
func (s *server) api(tree *layoutstore.Tree, flags *serveFlags, metrics *prometheus.Registry) (http.Handler, error) {
	guarded, err := s.guarded(flags.auth)
	if err != nil {
		return nil, err
	}
	s.pulls.now.Store(guarded)
	s.private = flags.auth.on()
	options := observe.Options{Route: registry.Route, Registerer: metrics}
	if flags.accessLog {
		options.AccessLog = s.log.Named("access")
	}
	for _, c := range []prometheus.Collector{
		observe.Tree{Snapshot: tree.Snapshot, Problems: s.live.problemsNow, Refused: s.refusals.count.Load}, s.reloaded,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := metrics.Register(c); err != nil {
			return nil, err
		}
	}
	limited, err := flags.clients.limited(&s.pulls)
	if err != nil {
		return nil, err
	}
	observed, err := observe.New(limited, options)
	if err != nil {
		return nil, err
	}
	traced, untrace, err := flags.trace.traced(observed, s.log)
	if err != nil {
		return nil, err
	}
	s.untrace = untrace
	return flags.clients.forwarded(traced)
}

// guarded is the registry, for those who may pull.
func (s *server) guarded(flags authFlags) (*http.Handler, error) {
	api, err := registry.New(s.live.tree, registry.Options{Refused: s.refusals.add, Private: flags.on()})
	if err != nil {
		return nil, err
	}
	guarded, err := flags.wrap(api, s.log)
	return &guarded, err
}

// pulls hands a request to the handler that is in place now.
type pulls struct{ now atomic.Pointer[http.Handler] }

func (p *pulls) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	(*p.now.Load()).ServeHTTP(w, req)
}

func (s *server) listen(name, address string, h http.Handler) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return exit.WithHint(fmt.Errorf("listening for the %s: %w", name, err),
			fmt.Sprintf("is another program there? choose another address with --%s", map[string]string{"registry": "listen", "admin": "admin-listen"}[name]))
	}
	quiet, err := zap.NewStdLogAt(s.log.Named(name), zap.DebugLevel)
	if err != nil {
		return err
	}
	s.servers = append(s.servers, listening{name, &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          quiet, // what clients do wrong
	}, l})
	return nil
}

func (s *server) close() {
	signal.Stop(s.hangup)
	if s.untrace != nil {
		s.untrace()
	}
	for _, l := range s.servers {
		l.Listener.Close()
	}
}

// writeAddresses tells who waits for the file where the servers listen.
func (s *server) writeAddresses(file string) error {
	var text string
	for _, l := range s.servers {
		text += fmt.Sprintf("%s=%s\n", l.name, l.Listener.Addr())
	}
	tmp := file + ".tmp"
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		return fmt.Errorf("address file: %w", err)
	}
	if err := os.Rename(tmp, file); err != nil {
		return fmt.Errorf("address file: %w", err)
	}
	return nil
}

// announce logs what is served where.
func (s *server) announce(sources []string) {
	snapshot := s.live.tree.Snapshot()
	fields := []zap.Field{
		zap.Strings("sources", sources), zap.Strings("roots", snapshot.Roots()),
		zap.Int("repositories", snapshot.RepositoryCount()), zap.Int("tags", snapshot.TagCount()),
	}
	for _, l := range s.servers {
		addr := l.Listener.Addr()
		fields = append(fields, zap.Stringer(l.name, addr))
		if tcp, ok := addr.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() && l.TLSConfig == nil {
			s.log.Warn("listening beyond loopback without TLS: whoever reaches the address can read everything, and change it on the way",
				zap.String("listener", l.name), zap.Stringer("address", addr))
			if l.name == "registry" && s.flags.auth.on() {
				s.log.Warn("credentials come in the clear, for whoever is on the way to read", zap.Stringer("address", addr))
			}
		}
	}
	s.log.Info("serving", fields...)
	if snapshot.RepositoryCount() == 0 {
		s.log.Warn("no repositories: is there a layout (a directory with index.json) or an archive in the sources?", zap.Strings("sources", sources))
	}
	s.live.tellProblems(context.Background())
}

// serve answers until the server is shut down.
func (l listening) serve() error {
	var err error
	if l.TLSConfig != nil {
		err = l.ServeTLS(l.Listener, "", "")
	} else {
		err = l.Serve(l.Listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving the %s: %w", l.name, err)
}

// run serves until ctx ends, then lets running transfers end for at most
// timeout. A second signal ends them at once.
func (s *server) run(ctx context.Context, stop func(), timeout time.Duration) error {
	group, groupCtx := errgroup.WithContext(ctx)
	for _, l := range s.servers {
		group.Go(l.serve)
	}
	defer s.untrace()
	s.notify.tell("READY=1")
	group.Go(func() error { return s.untilStuck(groupCtx, "the watch of the sources", s.live.run) })
	group.Go(func() error { return s.dropping.run(groupCtx) })
	group.Go(func() error { return s.follows.run(groupCtx) })
	group.Go(func() error {
		return s.untilStuck(groupCtx, "a reload", func(ctx context.Context) error { s.onHangup(ctx); return nil })
	})
	if s.scrub != nil {
		group.Go(func() error { return s.untilStuck(groupCtx, "the scrub", s.scrub.Run) })
	}
	group.Go(func() error {
		<-groupCtx.Done()
		s.admin.draining.Store(true)
		again := make(chan os.Signal, 1)
		signal.Notify(again, syscall.SIGTERM, os.Interrupt)
		defer signal.Stop(again)
		stop()
		s.notify.tell("STOPPING=1")
		s.log.Info("stopping: running transfers may end", zap.Duration("timeout", timeout))
		s.drain(again, timeout)
		return nil
	})
	return group.Wait()
}

// stuckAfter is how long the program waits, when it ends, for what only reads.
const stuckAfter = 2 * time.Second

// untilStuck runs what only reads until ctx ends and it has ended too. A storage that hangs
// does not keep the program from ending.
func (s *server) untilStuck(ctx context.Context, what string, run func(context.Context) error) error {
	patient, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(s.stuckAfter, stop) })()
	_, err := wait.For(patient, func() (struct{}, error) { return struct{}{}, run(ctx) }, nil)
	if err != nil && patient.Err() != nil {
		s.log.Warn("the storage does not answer: it is not waited for", zap.String("reader", what))
		return nil
	}
	return err
}

// drain stops the servers, the admin one last, that readiness can be asked for to the end.
func (s *server) drain(again <-chan os.Signal, timeout time.Duration) {
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
