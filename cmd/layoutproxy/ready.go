package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

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

type readyFlags struct {
	releases []string
	from     string
	modules  string // path of a file with one name[@constraint] per line
	deep     bool
	tree     settings.Tree
	upstream settings.Upstream
}

func newReady(c *console.Output) *cobra.Command {
	var flags readyFlags
	cmd := &cobra.Command{
		Use:   "ready SOURCE... | REGISTRY/PATH",
		Short: "Report which versions of Deckhouse can be installed or upgraded to",
		Long: `Report which versions of the platform can be installed, or upgraded to, from these sources or
this registry. layoutproxy reads which images each version and each module declares, and checks
every image: in sources down to its last blob, in a registry by one HEAD request. It reports each
missing image by module and name, and the archive or chunk to copy again if that is the cause.

An argument that is an existing path is a source. Otherwise it is a registry if its first
segment is a host. Name the versions and modules that you expect with --release and --modules:
otherwise a version or module that is completely absent is not reported.

The exit status is 0 if every judged version is ready, 3 if one is not, and 1 if a source or the
registry cannot be read. If the content declares nothing, it is not a bundle of Deckhouse:
layoutproxy reports that, with exit status 0.`,
		Example: `  # Before the trip: is the bundle complete for an upgrade from v1.69?
  layoutproxy ready /media/bundle --from v1.69.3

  # After the trip: does the registry have everything that v1.70.1 and these modules need?
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
	f.StringArrayVar(&r.releases, "release", nil, "judge this `version` of the platform; repeatable (default every version that is found)")
	f.StringVar(&r.from, "from", "", "`version` that the cluster runs: also check the upgrade path from it")
	f.StringVar(&r.modules, "modules", "", "`file` of the modules to judge, one name[@constraint] per line (default every module that is found)")
	f.BoolVar(&r.deep, "deep", false, "read every blob and check its digest")
	settings.AddCacheFlag(f, &r.tree.CacheDir)
	r.tree.S3.AddFlags(f)
	r.upstream.AddFlags(f)
	r.upstream.D8, r.upstream.UserAgent = settings.D8RegistryLogin(), userAgent()
}

// scope returns which facts to gather, and which questions to answer.
func (r *readyFlags) scope() (ready.Scope, error) {
	s := ready.Scope{Question: ready.Question{Releases: r.releases}, Deep: r.deep}
	for _, tag := range r.releases {
		if !names.IsTag(tag) {
			return s, exit.UsageError(fmt.Errorf("--release %q: must be a version or a tag", tag))
		}
	}
	if r.from != "" {
		v, err := semver.NewVersion(r.from)
		if err != nil {
			return s, exit.UsageError(fmt.Errorf("--from %q: must be a version such as v1.69.3", r.from))
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
	ctx, stop := exit.OnSignal(cmd.Context())
	defer stop()
	facts, err := flags.gather(ctx, cmd, c, args, scope)
	if err := exit.Ended(ctx, err, errors.New("interrupted before the verdict was complete")); err != nil {
		return err
	}
	verdict := ready.Judge(facts, scope.Question)
	if err := c.Print(cmd.OutOrStdout(), verdict, verdict.WriteText); err != nil || verdict.Ready {
		return err
	}
	return exit.ContentError(errors.New(verdict.Summary()))
}

func (r *readyFlags) gather(ctx context.Context, cmd *cobra.Command, c *console.Output, args []string, scope ready.Scope) (ready.Facts, error) {
	for _, arg := range args {
		to, isRegistry := asRegistry(arg)
		if !isRegistry {
			continue
		}
		if len(args) > 1 {
			return ready.Facts{}, exit.UsageError(fmt.Errorf("%s is not a file or directory, and a registry must be the only argument", arg))
		}
		upstream, err := r.upstream.Open(to, false, cmd.InOrStdin(), c.Log)
		if err != nil {
			return ready.Facts{}, exit.RegistryError(err)
		}
		defer upstream.Close()
		facts, err := ready.Registry(ctx, upstream, to, r.upstream.Jobs, scope)
		if errors.Is(err, ready.ErrNothingThere) {
			return facts, exit.WithHint(err, "add the path of the edition, for example registry.example.com/deckhouse/ee")
		}
		return facts, exit.RegistryError(err)
	}
	tree, err := source.Open(ctx, r.tree.Options(args))
	if err != nil {
		return ready.Facts{}, err
	}
	facts, err := gatherReady(ctx, tree, scope)
	if err == nil {
		err = tree.SaveCaches(ctx)
	}
	if err == nil && tree.Snapshot().RepositoryCount() == 0 && len(facts.Hidden) == 0 {
		err = errNoRepositories()
	}
	return facts, err
}

// asRegistry parses an argument as REGISTRY/PATH. ok is false if the argument is malformed or names
// a source.
func asRegistry(arg string) (to client.Reference, ok bool) {
	if _, err := os.Lstat(arg); err == nil || bucket.IsPlace(arg) {
		return client.Reference{}, false
	}
	if chunks, err := filepath.Glob(strings.NewReplacer("[", `\[`, "*", `\*`, "?", `\?`).Replace(arg) + ".*.chunk"); err != nil || len(chunks) > 0 {
		return client.Reference{}, false
	}
	to, err := client.ParseReference(arg)
	return to, err == nil
}

func gatherReady(ctx context.Context, tree *layoutstore.Tree, scope ready.Scope) (facts ready.Facts, err error) {
	err = tree.ReadWith(ctx, func(s *layoutstore.Snapshot) (err error) {
		facts, err = ready.Snapshot(ctx, s, scope)
		return err
	})
	return facts, err
}

// requireReady returns an error unless every platform version in the bundles is ready. Images may
// be in bundles or in beside, a list of additional sources, which need no signature. If deep is true, it
// reads every blob.
func requireReady(ctx context.Context, stderr io.Writer, flags settings.Tree, deep bool, bundles []string, beside ...string) error {
	tree, err := source.Open(ctx, flags.Options(bundles))
	if err != nil {
		return err
	}
	versions, hidden, err := ready.Versions(ctx, tree.Snapshot())
	if err != nil || len(versions) == 0 && !hidden {
		return err
	}
	if len(beside) > 0 {
		// The bundles come last, so that their tags win, as they do after an import.
		options := flags.Options(slices.Concat(beside, bundles))
		options.Unsigned = beside
		if tree, err = source.Open(ctx, options); err != nil {
			return err
		}
	}
	question := ready.Question{Releases: versions}
	facts, err := gatherReady(ctx, tree, ready.Scope{Question: question, Deep: deep})
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
	return exit.ContentError(exit.WithHint(fmt.Errorf("--require-ready: %s", verdict.Summary()), "nothing was changed: get the missing content that is listed above"))
}
