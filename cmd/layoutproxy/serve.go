package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/registry"
)

// serveFlags are the flags of serve beside those of the tree.
type serveFlags struct {
	treeFlags
	listen          string
	adminListen     string
	addressFile     string
	shutdownTimeout time.Duration
	strict          bool
}

func newServe(c *common) *cobra.Command {
	var flags serveFlags
	cmd := &cobra.Command{
		Use:   "serve SOURCE...",
		Short: "Serve directories of OCI image layouts as a registry",
		Long: `Serve the layouts in the sources as a read-only registry. The path of a layout
in its source is the name of its repository, below the root. Several sources are
one tree; of two that hold a tag the later one wins.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return sourceError(layoutstore.ErrNoSource)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return serve(cmd.Context(), c, &flags, args, cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	flags.flags(f)
	f.StringVar(&flags.listen, "listen", "127.0.0.1:5000", "`address` of the registry API; port 0 picks one")
	f.StringVar(&flags.adminListen, "admin-listen", "127.0.0.1:5001", "`address` of /healthz, /readyz, /status and POST /reload; empty means off")
	f.StringVar(&flags.addressFile, "address-file", "", "`file` to write registry=HOST:PORT and admin=HOST:PORT to when listening")
	f.DurationVar(&flags.shutdownTimeout, "shutdown-timeout", 30*time.Second, "how long running transfers may go on after SIGTERM")
	f.BoolVar(&flags.strict, "strict", false, "do not start with anything that cannot be served: exit 3")
	return cmd
}

// serve serves the sources until a signal or the context ends it.
func serve(ctx context.Context, c *common, flags *serveFlags, sources []string, stderr io.Writer) error {
	// A signal ends the program from here on, the scan too.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	tree, err := flags.open(ctx, sources)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if flags.strict {
		if err := checkStrictly(ctx, tree.Snapshot(), stderr); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
	s, err := newServer(c.log, flags, tree)
	if err != nil {
		return err
	}
	s.announce(sources)
	return s.run(ctx, stop, flags.shutdownTimeout)
}

// checkStrictly fails if the snapshot has a problem of any kind.
func checkStrictly(ctx context.Context, s *layoutstore.Snapshot, stderr io.Writer) error {
	if err := s.Check(ctx, runtime.GOMAXPROCS(0)); err != nil {
		return err
	}
	problems := s.Problems()
	for _, p := range problems {
		fmt.Fprintln(stderr, p)
	}
	if len(problems) > 0 {
		return problemsError(len(problems))
	}
	return nil
}

// server is the program while it serves.
type server struct {
	log      *zap.Logger
	tree     *layoutstore.Tree
	refusals *refusals
	admin    *admin
	servers  []listening
}

// listening is an HTTP server and where it listens.
type listening struct {
	name string
	*http.Server
	net.Listener
}

// newServer listens on the addresses and says where in the address file.
func newServer(log *zap.Logger, flags *serveFlags, tree *layoutstore.Tree) (_ *server, err error) {
	s := &server{log: log, tree: tree, refusals: newRefusals(log)}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	api, err := registry.New(tree, registry.Options{Refused: s.refusals.add})
	if err != nil {
		return nil, err
	}
	if err = s.listen("registry", flags.listen, api); err != nil {
		return nil, err
	}
	s.admin = &admin{tree: tree, refusals: s.refusals, log: log, changed: make(chan struct{}, 1)}
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

func (s *server) listen(name, address string, h http.Handler) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return hintedError{fmt.Errorf("listening for the %s: %w", name, err),
			fmt.Sprintf("is another program there? choose another address with --%s", map[string]string{"registry": "listen", "admin": "admin-listen"}[name])}
	}
	s.servers = append(s.servers, listening{name, &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          zap.NewStdLog(s.log.WithOptions(zap.IncreaseLevel(zap.WarnLevel))),
	}, l})
	return nil
}

func (s *server) close() {
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
	snapshot := s.tree.Snapshot()
	fields := []zap.Field{
		zap.Strings("sources", sources), zap.Strings("roots", snapshot.Roots()),
		zap.Int("repositories", snapshot.RepositoryCount()), zap.Int("tags", snapshot.TagCount()),
	}
	for _, l := range s.servers {
		fields = append(fields, zap.Stringer(l.name, l.Listener.Addr()))
		if addr, ok := l.Listener.Addr().(*net.TCPAddr); ok && !addr.IP.IsLoopback() {
			s.log.Warn("listening beyond loopback without TLS: whoever reaches the address can read everything, and change it on the way",
				zap.String("listener", l.name), zap.Stringer("address", addr))
		}
	}
	s.log.Info("serving", fields...)
	logProblems(s.log, snapshot.Problems())
}

// run serves until ctx ends, then lets running transfers end for at most
// timeout. A second signal ends them at once.
func (s *server) run(ctx context.Context, stop func(), timeout time.Duration) error {
	group, groupCtx := errgroup.WithContext(ctx)
	for _, l := range s.servers {
		group.Go(func() error {
			if err := l.Serve(l.Listener); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serving the %s: %w", l.name, err)
			}
			return nil
		})
	}
	group.Go(func() error { s.check(groupCtx); return nil })
	group.Go(func() error {
		<-groupCtx.Done()
		s.admin.draining.Store(true)
		again := make(chan os.Signal, 1)
		signal.Notify(again, syscall.SIGTERM, os.Interrupt)
		defer signal.Stop(again)
		stop()
		s.log.Info("stopping: running transfers may end", zap.Duration("timeout", timeout))
		s.drain(again, timeout)
		return nil
	})
	return group.Wait()
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

// check checks each new generation behind the requests, so that what cannot be
// served is known before it is asked for.
func (s *server) check(ctx context.Context) {
	for {
		snapshot := s.tree.Snapshot()
		before := len(snapshot.Problems())
		if err := snapshot.Check(ctx, 1); err != nil && ctx.Err() == nil {
			s.log.Warn("checking the sources", zap.Error(err))
		}
		if found := snapshot.Problems(); ctx.Err() == nil && len(found) > before {
			logProblems(s.log, found)
		}
		select {
		case <-s.admin.changed:
		case <-ctx.Done():
			return
		}
	}
}

// logProblems logs the first few problems; /status has them all.
func logProblems(log *zap.Logger, problems []layoutstore.Problem) {
	const most = 10
	for _, p := range problems[:min(most, len(problems))] {
		log.Warn("cannot be served", zap.String("kind", string(p.Kind)), zap.String("path", p.Path),
			zap.String("repository", p.Repository), zap.String("tag", p.Tag), zap.String("digest", string(p.Digest)), zap.String("reason", p.Reason))
	}
	if more := len(problems) - most; more > 0 {
		log.Warn("more cannot be served: see /status of the admin address, or layoutproxy list", zap.Int("more", more))
	}
}
