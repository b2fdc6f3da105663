package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/overlap"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/pruning"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/importer/prune"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/durable"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

type pruneFlags struct {
	store, cacheDir string
	request         prune.Request
	plan, execute   string // paths of plan files
	yes             bool
	leftovers       bool
	dropDir         string
	maxSize         string
	maxBytes        int64 // maxSize in bytes, or -1 if it is empty
	s3              settings.S3
}

func newPrune(c *console.Output) *cobra.Command {
	var flags pruneFlags
	cmd := &cobra.Command{
		Use:   "prune --store DIR|s3://BUCKET/PREFIX",
		Short: "Remove images that nothing needs any more from a store",
		Long: `Plan what to remove from the store at DIR, and print the plan: the tags to remove, how much
disk space becomes free, and, for each image that stays, the rule that keeps it. Only --yes and
--execute remove anything.

Give at least one rule that says what to keep. Whatever the rules say, prune also keeps tags that
are not versions, release channels and the versions that they point at, the highest version of
each repository, and everything that a kept image needs. Versions of the platform are removed
only with --deployed or --keep-release.

A prune is one generation of the store: readers see all of it or nothing. The next prune or
import completes a prune that was killed. Images lose their tags at once. Running pulls have a
grace period to complete; then the next prune, import or serve --store removes the images.

A store in a bucket has no lock: if an import publishes first, the prune fails with exit status 1.
In a bucket, a prune does not delete the objects of blobs, because servers may not have seen the
change yet. Run prune --leftovers --yes daily: it deletes objects that are older than a day, if no
generation of the last hour contains them.

The exit status is 1 if another process writes to the store, and 3 if the store has changed
since the plan was made, or a kept release would be less ready.`,
		Example: `  # What can be removed if v1.69.3 is deployed? Keep one version to go back to, two of each module.
  layoutproxy prune --store /srv/store --deployed v1.69.3 --keep-previous 1 --keep-newest 2 \
      --plan plan.json

  # Carry out that plan, if the store is still the same.
  layoutproxy prune --store /srv/store --execute plan.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runPrune(cmd, c, &flags)
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.store, "store", "", "`directory` of the store, or s3://BUCKET/PREFIX")
	settings.AddCacheFlag(f, &flags.cacheDir)
	p := &flags.request.Policy
	f.StringArrayVar(&p.KeepReleases, "keep-release", nil, "keep this `version` of the platform and all images that it declares; repeatable")
	f.StringVar(&p.Deployed, "deployed", "", "`version` of the platform that the cluster runs: keep it and all newer versions")
	f.IntVar(&p.KeepPrevious, "keep-previous", 0, "keep `N` versions of the platform before the deployed one")
	f.IntVar(&p.KeepNewest, "keep-newest", 0, "keep the newest `N` versions in each repository")
	f.StringArrayVar(&p.KeepBundles, "keep-bundle", nil, "keep everything that an `INVENTORY` (bundle.json) lists; repeatable")
	f.StringArrayVar(&p.Keep, "keep", nil, "keep tags that match a `GLOB` of REPOSITORY or REPOSITORY:TAG; repeatable")
	f.DurationVar(&p.OlderThan, "older-than", 0, "keep content that came into the store less than this `duration` ago")
	f.DurationVar(&flags.request.Grace, "grace", pruning.DefaultGrace, "serve removed images by digest for this `duration`; 0 removes them at once")
	f.BoolVar(&flags.request.Repack, "repack", false, "rewrite archives from which only a part is removed")
	f.StringVar(&flags.plan, "plan", "", "also write the plan to this `file`")
	f.StringVar(&flags.execute, "execute", "", "carry out the plan in this `file`, if the store is still the same")
	f.BoolVar(&flags.leftovers, "leftovers", false, "list staged files of killed imports, cached indexes of removed archives and, with --drop-dir, the bundles in done/ and failed/; with --yes, remove them")
	f.StringVar(&flags.dropDir, "drop-dir", "", "with --leftovers: the drop `directory` of the store")
	f.StringVar(&flags.maxSize, "max-size", "", "with --leftovers: keep the newest bundles in done/ and failed/ up to this `size`, such as 50GB")
	f.BoolVar(&flags.yes, "yes", false, "make a plan and carry it out")
	flags.s3.AddFlags(f)
	return cmd
}

// options returns the options of a pruner.
func (f *pruneFlags) options() prune.Options {
	o := prune.Options{Store: f.store, CacheDir: f.cacheDir, Buckets: f.s3.Writers()}
	if f.plan != "" {
		o.Planned = f.writePlan
	}
	return o
}

// writePlan writes a plan to the file of --plan.
func (f *pruneFlags) writePlan(plan prune.Plan) error {
	data, err := plan.Marshal()
	if err == nil {
		err = durable.WriteFile(f.plan, data, 0o644)
	}
	if err != nil {
		return exit.WithHint(fmt.Errorf("--plan: %w", err), "nothing was removed: name a file that this user can write with --plan")
	}
	return nil
}

func runPrune(cmd *cobra.Command, c *console.Output, flags *pruneFlags) error {
	ctx, stop := exit.OnSignal(cmd.Context())
	defer stop()
	if err := flags.check(cmd.Flags().Changed("grace")); err != nil {
		return err
	}
	if flags.leftovers {
		return removeLeftovers(ctx, cmd.OutOrStdout(), c, flags)
	}
	p, err := pruning.New(flags.options())
	if err != nil {
		return exit.PruneError(err)
	}
	plan, generation, err := flags.run(ctx, c, p)
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return exit.InterruptedError(errors.New("interrupted: nothing was removed"))
		}
		if exit.Hint(err) != "" { // about the file of --plan or --execute, not about the store
			return err
		}
		return exit.PruneError(err)
	}
	return c.Print(cmd.OutOrStdout(), plan, func(w io.Writer) error {
		if err := plan.WriteText(w); err != nil {
			return err
		}
		return printDone(w, flags, plan, generation)
	})
}

// check returns an error for flags that cannot be combined. grace is whether --grace is given.
func (f *pruneFlags) check(grace bool) error {
	switch {
	case f.store == "":
		return exit.UsageError(exit.WithHint(errors.New("no store given"), "name the directory of the store: layoutproxy prune --store /srv/store"))
	case f.request.Grace < 0:
		return exit.UsageError(fmt.Errorf("--grace %s: must not be negative", f.request.Grace))
	case bucket.IsPlace(f.store) && (f.request.Repack || f.dropDir != ""):
		return exit.UsageError(errors.New("--repack and --drop-dir cannot be used with a store in a bucket"))
	case f.leftovers:
		return f.checkLeftovers(grace)
	case f.dropDir != "" || f.maxSize != "":
		return exit.UsageError(errors.New("--drop-dir and --max-size need --leftovers"))
	case f.execute == "":
		if err := f.request.Policy.Check(); err != nil {
			return exit.PruneError(err)
		}
		return exit.PruneError(f.request.Policy.ReadBundles())
	case !f.request.Policy.IsEmpty() || f.plan != "" || f.yes || f.request.Repack || grace:
		return exit.UsageError(errors.New("--execute cannot be combined with rules, --grace, --repack, --plan or --yes: the plan contains the rules and the grace period"))
	}
	return nil
}

// checkLeftovers returns an error for flags that cannot be combined with --leftovers, and parses
// --max-size. grace is whether --grace is given.
func (f *pruneFlags) checkLeftovers(grace bool) error {
	f.maxBytes = -1
	rules := f.request.Policy
	rules.OlderThan = 0
	if !rules.IsEmpty() || f.plan != "" || f.execute != "" || f.request.Repack || grace {
		return exit.UsageError(errors.New("--leftovers can only be combined with --drop-dir, --older-than, --max-size and --yes: it removes no content of the store"))
	}
	if f.request.Policy.OlderThan < 0 {
		return exit.UsageError(fmt.Errorf("--older-than %s: must not be negative", f.request.Policy.OlderThan))
	}
	if f.dropDir == "" {
		if f.maxSize != "" {
			return exit.UsageError(errors.New("--max-size needs --drop-dir"))
		}
		return nil
	}
	if f.maxSize != "" {
		n, err := humanize.ParseBytes(f.maxSize)
		if err != nil || n > math.MaxInt64 {
			return exit.UsageError(fmt.Errorf("--max-size %s: malformed size: write a size such as 50GB", f.maxSize))
		}
		f.maxBytes = int64(n)
	}
	return overlap.Check(overlap.Place{Role: overlap.Store, Path: f.store}, overlap.Place{Role: overlap.Drop, Path: f.dropDir})
}

// removeLeftovers prints the leftovers. With --yes, it removes them.
func removeLeftovers(ctx context.Context, w io.Writer, c *console.Output, f *pruneFlags) error {
	p, err := prune.New(f.options())
	if err != nil {
		return exit.PruneError(err)
	}
	found, err := p.Leftovers(ctx, prune.LeftoversRequest{DropDir: f.dropDir, OlderThan: f.request.Policy.OlderThan, MaxSize: f.maxBytes, Remove: f.yes})
	if err != nil {
		if len(found.List) > 0 {
			_ = c.Print(w, found, found.WriteText) // these were removed before the error, which matters more than one of Print
		}
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return exit.InterruptedError(errors.New("interrupted"))
		}
		return exit.PruneError(err)
	}
	return c.Print(w, found, found.WriteText)
}

// run makes the plan, or reads it from the file of --execute. With --yes or --execute, run carries it out, and
// returns the generation of the store; otherwise, generation is 0.
func (f *pruneFlags) run(ctx context.Context, c *console.Output, p *prune.Pruner) (plan prune.Plan, generation uint64, err error) {
	switch {
	case f.execute != "":
		data, err := os.ReadFile(f.execute)
		if err != nil {
			return plan, 0, exit.WithHint(exit.UsageError(fmt.Errorf("--execute: the plan cannot be read: %w", err)), "make a plan first: layoutproxy prune with rules and --plan FILE")
		}
		if plan, err = prune.ReadPlan(data); err != nil {
			return plan, 0, exit.UsageError(fmt.Errorf("--execute %s: %w", f.execute, err))
		}
		if err := plan.Policy.ReadBundles(); err != nil {
			return plan, 0, err
		}
		plan, err = p.Execute(ctx, plan)
		if err != nil {
			return plan, 0, err
		}
	case f.yes:
		if plan, err = p.Run(ctx, f.request); err != nil {
			return plan, 0, err
		}
	default:
		plan, err = p.Plan(ctx, f.request)
		return plan, 0, err
	}
	generation = plan.Generation + 1
	if removed := sweep(ctx, c, f.options()); !removed.IsEmpty() {
		generation = removed.Generation + 1
	}
	return plan, generation, nil
}

// printDone prints that the plan was carried out, or how to carry it out; nothing for an empty plan. generation
// is that of the store after the plan was carried out, or 0.
func printDone(w io.Writer, f *pruneFlags, plan prune.Plan, generation uint64) (err error) {
	switch {
	case plan.IsEmpty():
	case generation > 0:
		_, err = fmt.Fprintf(w, "done: the store is at generation %d\n", generation)
	case f.plan != "":
		_, err = fmt.Fprintf(w, "nothing was removed: to carry out the plan, run layoutproxy prune --store %s --execute %s\n", f.store, f.plan)
	default:
		_, err = fmt.Fprintln(w, "nothing was removed: to carry out the plan, add --yes")
	}
	return err
}

// sweep removes images that an earlier prune has untagged, if their grace period has ended, and returns what it
// removed. If that fails, sweep at most logs a warning, because the next prune or import will try again.
func sweep(ctx context.Context, c *console.Output, o prune.Options) (removed prune.Plan) {
	p, err := prune.New(o)
	if err == nil {
		removed, _, err = p.Sweep(ctx)
	}
	if err == nil {
		return removed
	}
	if !errors.Is(err, journal.ErrNotStore) && !errors.Is(err, prune.ErrLocked) && ctx.Err() == nil {
		c.Log.Warn("cannot remove the images that an earlier prune has untagged: the next prune or import will try again", zap.String("store", o.Store), zap.Error(err))
	}
	return prune.Plan{}
}
