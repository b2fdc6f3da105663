package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/overlap"
	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// serveFlags are the flags of serve beside those of the tree.
type serveFlags struct {
	treeFlags
	listen          string
	adminListen     string
	addressFile     string
	shutdownTimeout time.Duration
	strict          bool
	rescan          time.Duration
	pprof           bool
	accessLog       bool
	scrub           string
	tls             tlsFlags
	auth            authFlags
	clients         clientFlags
	trace           traceFlags
	store           storeFlags
	config          configuration
}

func newServe(c *console.Output) *cobra.Command {
	var flags serveFlags
	cmd := &cobra.Command{
		Use:   "serve [SOURCE...]",
		Short: "Serve trees and archives of OCI image layouts as a registry",
		Long: `Serve the layouts in the sources as a read-only registry. A source is a
directory, which may hold unpacked layouts, archives (NAME.tar) and archives cut
into chunks (NAME.tar.0000.chunk and so on); or one archive; or any one chunk of
one. Nothing is unpacked. The path of a layout in its source is the name of its
repository, below the root. All sources together are one tree; of two that hold a
tag the later one wins.`,
		Args: cobra.ArbitraryArgs, // the sources may be in the configuration
		PersistentPreRunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.complete(cmd.Flags(), args, os.Environ()); err != nil {
				c.Started = true // whether it is wrong usage the error says
				return err
			}
			return c.Start(cmd.ErrOrStderr())
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			flags.config.warn(c.Log)
			if flags.config.check {
				return checkConfiguration(c, &flags, cmd.OutOrStdout())
			}
			return serve(cmd.Context(), c, &flags, flags.sources(flags.store.dir), cmd.ErrOrStderr())
		},
	}
	serveSettings(cmd.Flags(), &flags)
	return cmd
}

// serveSettings puts the flags of serve into a set; the environment and the
// configuration file have each of them by itself.
func serveSettings(f *pflag.FlagSet, flags *serveFlags) {
	flags.treeFlags.flags(f)
	flags.config.flags(f)
	f.StringVar(&flags.listen, "listen", "127.0.0.1:5000", "`address` of the registry API; port 0 picks one")
	f.StringVar(&flags.adminListen, "admin-listen", "127.0.0.1:5001", "`address` of /healthz, /readyz, /metrics, /status and POST /rescan; empty means off")
	f.StringVar(&flags.addressFile, "address-file", "", "`file` to write registry=HOST:PORT and admin=HOST:PORT to when listening")
	f.DurationVar(&flags.shutdownTimeout, "shutdown-timeout", 30*time.Second, "how long running transfers may go on after SIGTERM")
	f.BoolVar(&flags.strict, "strict", false, "do not start with anything that cannot be served: exit 3")
	f.DurationVar(&flags.rescan, "rescan", 10*time.Second, "how often the sources are looked at beside the events of the file system; 0 means never")
	f.DurationVar(&flags.settle, "settle", 3*time.Second, "how long an archive must be unchanged before it is read")
	f.BoolVar(&flags.pprof, "pprof", false, "profiles of the running program at /debug/pprof/ of the admin address")
	f.BoolVar(&flags.accessLog, "access-log", false, "log a line a request")
	f.StringVar(&flags.scrub, "scrub", "", "read all blobs in the background at this `rate`, as 10MB/s, and refuse the wrong ones; empty means off")
	flags.tls.flags(f)
	flags.auth.flags(f)
	flags.clients.flags(f)
	flags.trace.flags(f)
	flags.store.flags(f)
}

// serve serves the sources until a signal or the context ends it.
func serve(ctx context.Context, c *console.Output, flags *serveFlags, sources []string, stderr io.Writer) error {
	// A signal ends the program from here on, the scan too.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := flags.check(); err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		// The heap is a few megabytes, and at Go's default a busy server collects
		// it dozens of times a second.
		debug.SetGCPercent(200)
	}
	if err := flags.store.ready(ctx, c.Log); err != nil {
		return err
	}
	flags.patience = requestPatience
	tree, err := flags.open(ctx, sources)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if flags.strict {
		if err := checkStrictly(ctx, tree, stderr); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
	s, err := newServer(c.Log, flags, tree, sources)
	if err != nil {
		return err
	}
	s.announce(sources)
	return s.run(ctx, stop, flags.shutdownTimeout)
}

// requestPatience is how long a request waits for a disk: longer than one takes to spin up
// again, and not as long as clients wait.
const requestPatience = 15 * time.Second

// open scans the sources. What an earlier process quarantined is refused from the start.
func (f *serveFlags) open(ctx context.Context, sources []string) (*layoutstore.Tree, error) {
	options := f.options(sources)
	options.QuarantineDir = f.quarantineDir()
	tree, err := layoutstore.Open(ctx, options)
	return tree, exit.SourceError(err)
}

// check finds what is wrong with the flags before anything is read.
func (f *serveFlags) check() error {
	if f.settle < 0 {
		return exit.UsageError(fmt.Errorf("--settle %s: less than nothing", f.settle))
	}
	if f.rescan < 0 {
		return exit.UsageError(fmt.Errorf("--rescan %s: less than nothing", f.rescan))
	}
	if f.shutdownTimeout < 0 {
		return exit.UsageError(fmt.Errorf("--shutdown-timeout %s: less than nothing", f.shutdownTimeout))
	}
	if err := checkListen("listen", f.listen); err != nil {
		return err
	}
	if f.adminListen != "" {
		if err := checkListen("admin-listen", f.adminListen); err != nil {
			return err
		}
	}
	_, err := parseRate(f.scrub)
	err = cmp.Or(err, f.tls.check(), f.auth.check(), f.clients.check(), f.trace.check(), f.store.drop.check(f.store.dir), f.store.push.check(f.store.dir))
	if err != nil {
		return err
	}
	return overlap.Check(f.places(f.config.sources)...)
}

// places are the directories and files that the flags name, with other sources.
func (f *serveFlags) places(sources []string) (all []overlap.Place) {
	add := func(r overlap.Role, name string) {
		if name != "" {
			all = append(all, overlap.Place{Role: r, Path: name})
		}
	}
	add(overlap.Store, f.store.dir)
	add(overlap.Drop, f.store.drop.dir)
	for _, name := range sources {
		add(overlap.Source, name)
	}
	add(overlap.Cache, f.cacheDir)
	return all
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
	return exit.UsageError(exit.WithHint(fmt.Errorf("--%s %s: no address", flag, address), "write it as HOST:PORT, as 127.0.0.1:5000, or :5000 for all addresses"))
}

// checkStrictly fails if the snapshot has a problem of any kind.
func checkStrictly(ctx context.Context, tree *layoutstore.Tree, stderr io.Writer) error {
	s, err := checkAll(ctx, tree)
	if err != nil {
		return err
	}
	problems := s.Problems()
	for _, source := range s.Sources() {
		if source.State == "waiting" { // it would start without this one
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
