package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/source"
	"github.com/layoutproxy/layoutproxy/importer/push"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

type pushFlags struct {
	settings.Selection
	upstream   settings.Upstream
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
	p.Selection.AddFlags(f)
	settings.AddEditionFlag(f, &p.Repositories.NoEditionSplit)
	p.upstream.AddFlags(f)
	p.upstream.D8, p.upstream.UserAgent = settings.D8RegistryLogin(), userAgent()
	f.StringVar(&p.cacheDir, "cache-dir", settings.CacheDir(), "`directory` where the indexes of archives are kept; empty means nowhere")
	f.StringVar(&p.stateDir, "state-dir", settings.StateDir(), "`directory` that keeps where an interrupted push goes on; empty means nowhere")
	f.BoolVar(&p.dryRun, "dry-run", false, "print what would be pushed, without asking the registry")
	f.BoolVar(&p.noProbe, "skip-preflight", false, "do not try an upload before the first one")
	f.BoolVar(&p.checkBlobs, "check-blobs", false, "ask also for the blobs, and the lists of referrers, of manifests that the registry has already, and send what is missing")
	f.BoolVar(&p.incomplete, "allow-incomplete", false, "push what is whole where the sources are damaged or incomplete; exit 3")
}

func pushSources(cmd *cobra.Command, c *console.Output, flags *pushFlags, args []string) error {
	last := args[len(args)-1]
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
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err = pushTo(ctx, cmd, c, flags, args[:len(args)-1], to)
	if err != nil && ctx.Err() != nil {
		return exit.InterruptedError(exit.WithHint(errors.New("interrupted"), "what has arrived is kept: run the same command again to go on"))
	}
	return err
}

func pushTo(ctx context.Context, cmd *cobra.Command, c *console.Output, flags *pushFlags, sources []string, to client.Reference) error {
	tree, plan, err := source.PlanPush(ctx, &flags.Selection, flags.cacheDir, sources, to)
	if err != nil {
		return err
	}
	tree.Keep(ctx)
	failures := plan.Failures(flags.Repositories)
	for _, p := range failures {
		fmt.Fprintln(cmd.ErrOrStderr(), p)
	}
	if flags.dryRun {
		if err := c.Print(cmd.OutOrStdout(), plan.Outline(), plan.WriteText); err != nil {
			return err
		}
	} else {
		for _, layer := range plan.NonDistributable {
			fmt.Fprintln(cmd.ErrOrStderr(), "left out:", layer)
		}
	}
	if len(failures) > 0 && !flags.incomplete {
		return exit.ContentError(exit.WithHint(fmt.Errorf("the sources are damaged or incomplete in %d places: nothing is pushed", len(failures)),
			"get what is missing, or push the rest with --allow-incomplete"))
	}
	if !flags.dryRun {
		if err := carryOut(ctx, cmd, c, flags, plan); err != nil {
			return err
		}
	}
	if len(failures) > 0 {
		return exit.ContentError(fmt.Errorf("the sources are damaged or incomplete in %d places: what is concerned was left out", len(failures)))
	}
	return nil
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
	upstream, err := flags.upstream.Open(plan.Destination, true, cmd.InOrStdin(), c.Log)
	if err != nil {
		return err
	}
	defer upstream.Close()
	progress := console.NewProgress(c.Log, c.Console, "pushing")
	pusher, err := push.New(push.Options{
		Plan: plan, Client: upstream, State: state, Jobs: flags.upstream.Jobs, SkipPreflight: flags.noProbe, CheckBlobs: flags.checkBlobs,
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
