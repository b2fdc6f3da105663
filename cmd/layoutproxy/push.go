package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/importer/push"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// selectionFlags say what of the sources is pushed, or compared.
type selectionFlags struct {
	files     []string
	selection push.Selection
}

func (s *selectionFlags) flags(f *pflag.FlagSet) {
	f.StringArrayVar(&s.files, "file", nil, "push this `archive` of the sources only, by its name; repeatable")
	f.StringArrayVar(&s.selection.Include, "include", nil, "push repositories only whose path below the root matches this `glob`, or lies below one that does; repeatable")
	f.StringArrayVar(&s.selection.Exclude, "exclude", nil, "leave those out whose path matches this `glob`; repeatable")
	f.StringVar(&s.selection.ModulesPath, "modules-path-suffix", "", "`path` below the destination that takes the place of modules; / is the destination itself")
}

// editionFlag is the flag of each command that names repositories below a root or a
// destination.
func editionFlag(f *pflag.FlagSet, off *bool) {
	f.BoolVar(off, "no-edition-split", false, "name installer and deckhouse-cli below an edition, as deckhouse/ee/installer, and not beside it, as older tools did")
}

// check finds patterns that are none.
func (s *selectionFlags) check() error {
	if err := s.selection.Check(); err != nil {
		return exit.UsageError(err)
	}
	return nil
}

// sources are the sources, or the archives in them that are to be pushed.
func (s *selectionFlags) sources(sources []string) ([]string, error) {
	if len(s.files) == 0 {
		return sources, nil
	}
	var chosen []string
	for _, file := range s.files {
		before := len(chosen)
		for _, source := range sources {
			if filepath.Base(source) == file {
				chosen = append(chosen, source)
			}
			for _, name := range []string{file, file + ".0000.chunk"} {
				if path := filepath.Join(source, name); isFile(path) {
					chosen = append(chosen, path)
					break
				}
			}
		}
		if len(chosen) == before {
			return nil, exit.WithHint(fmt.Errorf("--file %s: no such archive in %s", file, strings.Join(sources, ", ")), "name it as it lies there, as platform.tar; also if it is in chunks")
		}
	}
	return chosen, nil
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

type pushFlags struct {
	selectionFlags
	upstream   upstreamFlags
	cacheDir   string
	stateDir   string
	dryRun     bool
	noProbe    bool
	checkBlobs bool
	incomplete bool
}

func newPush(c *console.Output) *cobra.Command {
	var flags pushFlags
	cmd := &cobra.Command{
		Use:   "push SOURCE... REGISTRY/PATH",
		Short: "Push the sources to a registry",
		Long: `Push what the sources hold to a registry: the repository at a path below the root
goes to REGISTRY/PATH and that path, discovery tags too. Where PATH ends in an
edition, as deckhouse/ee, installer and deckhouse-cli go beside it, as
deckhouse/installer. Archives and chunks are read where they lie.

A push that was interrupted goes on where it was when it is run again, inside of a
large blob as well; what is there already is not sent. At the end all that was
written is asked for once more. Damaged or incomplete content is refused before
anything is sent: exit 3.`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return pushSources(cmd, c, &flags, args)
		},
	}
	flags.flags(cmd.Flags())
	return cmd
}

func (p *pushFlags) flags(f *pflag.FlagSet) {
	p.selectionFlags.flags(f)
	editionFlag(f, &p.selection.NoEditionSplit)
	p.upstream.flags(f)
	p.upstream.d8 = d8RegistryLogin()
	f.StringVar(&p.cacheDir, "cache-dir", cacheDir(), "`directory` where the indexes of archives are kept; empty means nowhere")
	f.StringVar(&p.stateDir, "state-dir", stateDirectory(), "`directory` that keeps where an interrupted push goes on; empty means nowhere")
	f.BoolVar(&p.dryRun, "dry-run", false, "print what would be pushed, without asking the registry")
	f.BoolVar(&p.noProbe, "skip-preflight", false, "do not try an upload before the first one")
	f.BoolVar(&p.checkBlobs, "check-blobs", false, "ask also for the blobs, and the lists of referrers, of manifests that the registry has already, and send what is missing")
	f.BoolVar(&p.incomplete, "allow-incomplete", false, "push what is whole where the sources are damaged or incomplete; exit 3")
}

// stateDirectory is the one of the XDG base directory specification.
func stateDirectory() string {
	dir := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(dir) {
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		dir = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(dir, "layoutproxy")
}

func pushSources(cmd *cobra.Command, c *console.Output, flags *pushFlags, args []string) error {
	last := args[len(args)-1]
	if _, err := os.Stat(last); err == nil {
		return exit.UsageError(exit.WithHint(fmt.Errorf("the last argument, %s, is a file or directory and not a registry", last), "layoutproxy push SOURCE... REGISTRY/PATH"))
	}
	to, err := parseUpstream(last)
	if err != nil {
		return err
	}
	for _, check := range []func() error{flags.check, flags.upstream.check} {
		if err := check(); err != nil {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err = pushTo(ctx, cmd, c, flags, args[:len(args)-1], to)
	if err != nil && ctx.Err() != nil {
		return exit.InterruptedError(exit.WithHint(errors.New("interrupted"), "what has arrived is kept: run the same command again to go on"))
	}
	return err
}

func pushTo(ctx context.Context, cmd *cobra.Command, c *console.Output, flags *pushFlags, sources []string, to client.Reference) error {
	tree, plan, err := planPush(ctx, &flags.selectionFlags, flags.cacheDir, sources, to)
	if err != nil {
		return err
	}
	tree.Keep(ctx)
	gaps := pushGaps(tree.Snapshot(), plan, flags.selection)
	for _, g := range gaps {
		fmt.Fprintln(cmd.ErrOrStderr(), g)
	}
	if flags.dryRun {
		if err := c.Print(cmd.OutOrStdout(), plan.Outline(), plan.WriteText); err != nil {
			return err
		}
	} else {
		for _, g := range plan.NonDistributable {
			fmt.Fprintln(cmd.ErrOrStderr(), "left out:", g)
		}
	}
	if len(gaps) > 0 && !flags.incomplete {
		return exit.ContentError(exit.WithHint(fmt.Errorf("the sources are damaged or incomplete in %d places: nothing is pushed", len(gaps)),
			"get what is missing, or push the rest with --allow-incomplete"))
	}
	if !flags.dryRun {
		if err := carryOut(ctx, cmd, c, flags, plan); err != nil {
			return err
		}
	}
	if len(gaps) > 0 {
		return exit.ContentError(fmt.Errorf("the sources are damaged or incomplete in %d places: what is concerned was left out", len(gaps)))
	}
	return nil
}

// planPush opens the sources and plans a push of them.
func planPush(ctx context.Context, s *selectionFlags, cacheDir string, sources []string, to client.Reference) (*layoutstore.Tree, *push.Plan, error) {
	sources, err := s.sources(sources)
	if err != nil {
		return nil, nil, err
	}
	// The names of the registry, so that whatever is wrong with one is found.
	flags := treeFlags{roots: []string{to.Path}, noEditionSplit: s.selection.NoEditionSplit, cacheDir: cacheDir}
	tree, err := flags.open(ctx, sources)
	if err != nil {
		return nil, nil, err
	}
	snapshot, err := checkAll(ctx, tree)
	if err != nil {
		return nil, nil, err
	}
	plan, err := push.NewPlan(ctx, snapshot, to, s.selection)
	if errors.Is(err, push.ErrName) {
		err = exit.UsageError(exit.WithHint(err, "choose another PATH in REGISTRY/PATH, or leave the repository out with --exclude"))
	}
	return tree, plan, err
}

// pushGaps are what keeps the selected sources from being pushed whole: the problems
// of the tree for which something is missing or wrong, and gaps of the plan that they do not tell.
func pushGaps(s *layoutstore.Snapshot, plan *push.Plan, selection push.Selection) []fmt.Stringer {
	var gaps []fmt.Stringer
	told := map[string]bool{}
	for _, p := range s.Problems() {
		// What concerns no repository concerns all of them.
		if !p.IsFailure() || p.Layout != "" && !selection.Has(p.Layout) {
			continue
		}
		gaps = append(gaps, p)
		if p.Layout != "" {
			told[selection.Name(plan.Destination, p.Layout)] = true
		}
	}
	for _, g := range plan.Gaps {
		if !told[g.Repository] {
			gaps = append(gaps, g)
		}
	}
	return gaps
}

// carryOut pushes a plan, and prints what was done also if it fails.
func carryOut(ctx context.Context, cmd *cobra.Command, c *console.Output, flags *pushFlags, plan *push.Plan) error {
	if len(plan.Repositories) == 0 {
		return exit.WithHint(errors.New("there is nothing to push: no repository of the sources has content"), "layoutproxy list SOURCE... shows what there is")
	}
	state, err := push.OpenState(flags.stateDir)
	if err != nil {
		return exit.WithHint(fmt.Errorf("state directory: %w", err), "choose another one with --state-dir")
	}
	upstream, err := flags.upstream.open(plan.Destination, true, cmd.InOrStdin(), c.Log)
	if err != nil {
		return err
	}
	defer upstream.Close()
	progress := console.NewProgress(c.Log, c.Console, "pushing")
	pusher, err := push.New(push.Options{
		Plan: plan, Client: upstream, State: state, Jobs: flags.upstream.jobs, SkipPreflight: flags.noProbe, CheckBlobs: flags.checkBlobs,
		Progress: console.Transfers{Progress: progress}, Notice: func(s string) { c.Log.Info(s) },
	})
	if err != nil {
		progress.Stop()
		return err
	}
	summary, err := pusher.Push(ctx)
	progress.Stop()
	printed := c.Print(cmd.OutOrStdout(), summary, func(w io.Writer) error {
		if err != nil && !summary.Written() {
			return nil
		}
		return summary.WriteText(w)
	})
	if err != nil {
		return exit.PushError(err)
	}
	return printed
}
