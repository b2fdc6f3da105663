package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/Masterminds/semver/v3"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/source"
	"github.com/layoutproxy/layoutproxy/importer/ready"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// readyFlags are the flags of ready.
type readyFlags struct {
	releases []string
	from     string
	modules  string // file
	deep     bool
	cacheDir string
	s3       settings.S3
	upstream settings.Upstream
}

func newReady(c *console.Output) *cobra.Command {
	var flags readyFlags
	cmd := &cobra.Command{
		Use:   "ready SOURCE... | REGISTRY/PATH",
		Short: "Say which versions of Deckhouse can be installed or upgraded to from here",
		Long: `Say which versions of the platform can be installed, or upgraded to, from what is here.
layoutproxy reads what each version and each module declares, and looks for every image:
from sources down to its last blob, from a registry by one HEAD request per image. It
reports each missing image by module and name, and the archive or chunk to copy again
where that is the cause.

An argument that is an existing path is a source. Otherwise it is a registry if its first
segment is a host. Name the versions and modules that you expect with --release and
--modules: what is absent altogether is not missed otherwise.

The exit status is 0 if every version that is asked for is ready, 3 if one is not, and 1
if a source or the registry cannot be read. Content that declares nothing is not a bundle
of Deckhouse: layoutproxy says so, with exit status 0.`,
		Example: `  # Before the trip: is the bundle complete for an upgrade from v1.69?
  layoutproxy ready /media/bundle --from v1.69.3

  # After it: does the registry have everything that v1.70.1 and these modules need?
  layoutproxy ready registry.example.com/deckhouse/ee --release v1.70.1 --modules modules.txt`,
		Args: someSource,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runReady(cmd, c, &flags, args)
		},
	}
	flags.flags(cmd.Flags())
	return cmd
}

func (r *readyFlags) flags(f *pflag.FlagSet) {
	f.StringArrayVar(&r.releases, "release", nil, "judge this `version` of the platform; repeatable; every version that is here by default")
	f.StringVar(&r.from, "from", "", "`version` of the cluster, from which it has to be possible to upgrade")
	f.StringVar(&r.modules, "modules", "", "`file` of the modules to judge, one name[@constraint] per line; every module that is here by default")
	f.BoolVar(&r.deep, "deep", false, "read every blob and check its digest")
	f.StringVar(&r.cacheDir, "cache-dir", settings.CacheDir(), "`directory` for the indexes of archives; empty means nowhere")
	r.s3.AddFlags(f)
	r.upstream.AddFlags(f)
	r.upstream.D8, r.upstream.UserAgent = settings.D8RegistryLogin(), userAgent()
}

// scope returns which facts the flags need.
func (r *readyFlags) scope() (ready.Scope, error) {
	s := ready.Scope{Question: ready.Question{Releases: r.releases}, Deep: r.deep}
	for _, tag := range r.releases {
		if !names.IsTag(tag) {
			return s, exit.UsageError(fmt.Errorf("--release %q: not a version or a tag", tag))
		}
	}
	if r.from != "" {
		v, err := semver.NewVersion(r.from)
		if err != nil {
			return s, exit.UsageError(fmt.Errorf("--from %q: not a version, as v1.69.3", r.from))
		}
		s.From = "v" + v.String()
	}
	if r.modules == "" {
		return s, nil
	}
	file, err := os.ReadFile(r.modules)
	if err != nil {
		return s, exit.UsageError(fmt.Errorf("--modules: %w", err))
	}
	if s.Modules, err = ready.ParseModules(file); err != nil {
		return s, exit.UsageError(fmt.Errorf("--modules %s: %w", r.modules, err))
	}
	return s, nil
}

func runReady(cmd *cobra.Command, c *console.Output, flags *readyFlags, args []string) error {
	scope, err := flags.scope()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	facts, err := flags.gather(ctx, cmd, c, args, scope)
	if ctx.Err() != nil {
		return exit.InterruptedError(errors.New("interrupted before the end: there is no verdict"))
	}
	if err != nil {
		return err
	}
	verdict := ready.Judge(facts, scope.Question)
	if err := c.Print(cmd.OutOrStdout(), verdict, verdict.WriteText); err != nil || verdict.Ready {
		return err
	}
	return exit.ContentError(errors.New(verdict.Summary()))
}

// gather gathers the facts of the sources, or of the registry.
func (r *readyFlags) gather(ctx context.Context, cmd *cobra.Command, c *console.Output, args []string, scope ready.Scope) (ready.Facts, error) {
	for _, arg := range args {
		to, isRegistry := asRegistry(arg)
		if !isRegistry {
			continue
		}
		if len(args) > 1 {
			return ready.Facts{}, exit.UsageError(fmt.Errorf("%s does not exist, and as a registry it is judged alone", arg))
		}
		upstream, err := r.upstream.Open(to, false, cmd.InOrStdin(), c.Log)
		if err != nil {
			return ready.Facts{}, exit.RegistryError(err)
		}
		defer upstream.Close()
		facts, err := ready.Registry(ctx, upstream, to, r.upstream.Jobs, scope)
		if errors.Is(err, ready.ErrNothingThere) {
			return facts, exit.WithHint(err, "name the path below which the edition is: registry.example.com/deckhouse/ee")
		}
		return facts, exit.RegistryError(err)
	}
	tree, err := source.Open(ctx, (&settings.Tree{CacheDir: r.cacheDir, S3: r.s3}).Options(args))
	if err != nil {
		return ready.Facts{}, err
	}
	facts, err := gatherReady(ctx, tree, scope)
	if err == nil {
		err = tree.SaveCaches(ctx)
	}
	if err == nil && tree.Snapshot().RepositoryCount() == 0 && len(facts.Hidden) == 0 {
		err = exit.ContentError(exit.WithHint(errors.New("no repositories in the sources"), "is the disk mounted? there has to be a layout (a directory with index.json) or an archive"))
	}
	return facts, err
}

// asRegistry reads an argument as a REGISTRY/PATH, unless it is an existing path or names a
// chunk set by its archive.
func asRegistry(arg string) (client.Reference, bool) {
	if _, err := os.Lstat(arg); err == nil || bucket.IsPlace(arg) {
		return client.Reference{}, false
	}
	if chunks, err := filepath.Glob(strings.NewReplacer("[", `\[`, "*", `\*`, "?", `\?`).Replace(arg) + ".*.chunk"); err != nil || len(chunks) > 0 {
		return client.Reference{}, false
	}
	to, err := client.ParseReference(arg)
	return to, err == nil
}

// gatherReady gathers the facts of a tree.
func gatherReady(ctx context.Context, tree *layoutstore.Tree, scope ready.Scope) (facts ready.Facts, err error) {
	err = tree.ReadWith(ctx, func(s *layoutstore.Snapshot) (err error) {
		facts, err = ready.Snapshot(ctx, s, scope)
		return err
	})
	return facts, err
}

// requireReady refuses bundles unless each version of the platform in them is ready. The content
// of the store beside counts as well.
func requireReady(ctx context.Context, stderr io.Writer, flags settings.Tree, bundles []string, beside ...string) error {
	brought, err := source.Open(ctx, flags.Options(bundles))
	if err != nil {
		return err
	}
	versions, hidden, err := ready.Versions(ctx, brought.Snapshot())
	if err != nil || len(versions) == 0 && !hidden {
		return err
	}
	tree := brought
	if len(beside) > 0 {
		// If bundle and store have the same tag, the bundle's image counts, as it will after the
		// import.
		if tree, err = source.Open(ctx, flags.Options(slices.Concat(beside, bundles))); err != nil {
			return err
		}
	}
	question := ready.Question{Releases: versions}
	facts, err := gatherReady(ctx, tree, ready.Scope{Question: question})
	if err != nil {
		return err
	}
	verdict := ready.Judge(facts, question)
	if verdict.Ready {
		return nil
	}
	if err := verdict.WriteText(stderr); err != nil {
		return err
	}
	return exit.ContentError(exit.WithHint(fmt.Errorf("--require-ready: %s", verdict.Summary()), "get what is missing, which is named above; nothing was changed"))
}
