package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/source"
	"github.com/layoutproxy/layoutproxy/importer/push"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

type pushFlags struct {
	settings.Selection
	upstream   settings.Upstream
	tree       settings.Tree
	stateDir   string
	dryRun     bool
	noProbe    bool
	checkBlobs bool
	incomplete bool
	ready      bool
}

func newPush(c *console.Output) *cobra.Command {
	var flags pushFlags
	cmd := &cobra.Command{
		Use:   "push SOURCE... REGISTRY/PATH",
		Short: "Push the sources to a registry",
		Long: `Push the sources to a registry, discovery tags included, without unpacking them. A repository
keeps its path below the root and is pushed to that path below REGISTRY/PATH. If PATH ends in an
edition (deckhouse/ee), installer and deckhouse-cli are pushed beside it (deckhouse/installer).

Run an interrupted push again to resume it, even in the middle of a large blob. Blobs that the
registry already has are not sent. At the end, the push checks that the registry kept everything
it acknowledged. Damaged or incomplete sources are refused with exit status 3 before anything is
sent.`,
		Example: `  layoutproxy push /media/bundle registry.example:5000/deckhouse/ee --dry-run
  layoutproxy push /media/bundle registry.example:5000/deckhouse/ee --username admin
  layoutproxy push /media/bundle registry.example:5000/deckhouse/ee --file module-console.tar`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return pushSources(cmd, c, &flags, args)
		},
	}
	flags.flags(cmd.Flags())
	return cmd
}

func (p *pushFlags) flags(f *pflag.FlagSet) {
	p.Selection.AddFlags(f, "push")
	settings.AddEditionFlag(f, &p.Repositories.NoEditionSplit)
	p.upstream.AddFlags(f)
	p.upstream.D8, p.upstream.UserAgent = settings.D8RegistryLogin(), userAgent()
	settings.AddCacheFlag(f, &p.tree.CacheDir)
	p.tree.S3.AddFlags(f)
	f.StringVar(&p.stateDir, "state-dir", settings.StateDir(), "`directory` for the state of interrupted uploads, so that a push can resume them; empty means nowhere")
	f.BoolVar(&p.dryRun, "dry-run", false, "print what would be pushed, without asking the registry")
	f.BoolVar(&p.noProbe, "skip-preflight", false, "skip the trial upload before the first blob")
	f.BoolVar(&p.checkBlobs, "check-blobs", false, "also check the blobs and referrers of manifests that the registry already has, and send missing ones")
	f.BoolVar(&p.ready, "require-ready", false, "push only if every version of the platform in the sources is ready; otherwise exit with 3")
	f.BoolVar(&p.incomplete, "allow-incomplete", false, "push the intact part of damaged or incomplete sources, and exit with 3")
}

func pushSources(cmd *cobra.Command, c *console.Output, flags *pushFlags, args []string) error {
	last := args[len(args)-1]
	if bucket.IsPlace(last) {
		return exit.UsageError(exit.WithHint(fmt.Errorf("the last argument, %s, is in a bucket and not a registry", last), "layoutproxy push SOURCE... REGISTRY/PATH"))
	}
	if _, err := os.Stat(last); err == nil {
		return exit.UsageError(exit.WithHint(fmt.Errorf("the last argument, %s, is a file or directory and not a registry", last), "layoutproxy push SOURCE... REGISTRY/PATH"))
	}
	to, err := settings.ParseUpstream(last)
	if err != nil {
		return err
	}
	for _, check := range []func() error{flags.Check, flags.upstream.Check} {
		if err := check(); err != nil {
			return err
		}
	}
	ctx, stop := exit.OnSignal(cmd.Context())
	defer stop()
	err = pushTo(ctx, cmd, c, flags, args[:len(args)-1], to)
	if err != nil && ctx.Err() != nil {
		return exit.InterruptedError(exit.WithHint(errors.New("interrupted"), "to resume, run the same command again"))
	}
	return err
}

func pushTo(ctx context.Context, cmd *cobra.Command, c *console.Output, flags *pushFlags, sources []string, to client.Reference) error {
	if flags.ready {
		if err := requireReady(ctx, cmd.ErrOrStderr(), flags.tree, false, sources); err != nil {
			return err
		}
	}
	tree, plan, err := source.PlanPush(ctx, &flags.Selection, flags.tree, sources, to)
	if err != nil {
		return err
	}
	if err := tree.SaveCaches(ctx); err != nil {
		return err
	}
	failures := plan.Failures(flags.Repositories)
	for _, p := range failures {
		console.PrintLine(cmd.ErrOrStderr(), p)
	}
	if flags.dryRun {
		if err := c.Print(cmd.OutOrStdout(), plan.Outline(), plan.WriteText); err != nil {
			return err
		}
	} else {
		for _, layer := range plan.NonDistributable {
			console.PrintLine(cmd.ErrOrStderr(), fmt.Sprint("left out: ", layer))
		}
	}
	if len(failures) > 0 && !flags.incomplete {
		return exit.ContentError(exit.WithHint(fmt.Errorf("the sources are damaged or incomplete in %s: nothing is pushed", english.Plural(len(failures), "place", "")),
			"get the missing content, or push the rest with --allow-incomplete"))
	}
	if nothingIntact := len(plan.Repositories) == 0 && len(failures) > 0; !flags.dryRun && !nothingIntact {
		if err := carryOut(ctx, cmd, c, flags, plan); err != nil {
			return err
		}
	}
	if len(failures) > 0 {
		return exit.ContentError(fmt.Errorf("the sources are damaged or incomplete in %s: affected content was skipped", english.Plural(len(failures), "place", "")))
	}
	return nil
}

// carryOut pushes a plan, and prints a summary. If the push fails before it writes, only JSON has a summary.
func carryOut(ctx context.Context, cmd *cobra.Command, c *console.Output, flags *pushFlags, plan *push.Plan) error {
	if len(plan.Repositories) == 0 {
		return exit.WithHint(errors.New("there is nothing to push: no repository of the sources has content"), "layoutproxy list SOURCE... shows their content")
	}
	state, err := push.OpenState(flags.stateDir)
	if err != nil {
		return exit.WithHint(fmt.Errorf("the state directory cannot be used: %w", err), "choose another directory with --state-dir")
	}
	upstream, err := flags.upstream.Open(plan.Destination, true, cmd.InOrStdin(), c.Log)
	if err != nil {
		return err
	}
	defer upstream.Close()
	progress := console.NewProgress(c.Log, c.Console, "pushing")
	summary, err := push.Run(ctx, push.Options{
		Plan: plan, Client: upstream, State: state, Jobs: flags.upstream.Jobs, SkipPreflight: flags.noProbe, CheckBlobs: flags.checkBlobs,
		Progress: console.Transfers{Progress: progress}, Notice: func(s string) { c.Log.Info(s) },
	})
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
