package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/overlap"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/source"
	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/pull/deckhouse"
	"github.com/layoutproxy/layoutproxy/importer/ready"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/streebog"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

type pullFlags struct {
	settings.Upstream
	options      pull.Options
	repositories pull.Repositories
	selection    deckhouse.Selection

	sign     settings.SignKey
	platform string
	chunk    int64 // size of chunks in gigabytes (10^9 bytes); 0 means no chunks
	gost     bool
	dryRun   bool
}

func newPull(c *console.Output) *cobra.Command {
	var flags pullFlags
	cmd := &cobra.Command{
		Use:   "pull REGISTRY/PATH DIR",
		Short: "Fetch from a source registry into bundle archives",
		Long: `Fetch images from a registry into bundle archives in DIR. Such a bundle can be served, imported
and pushed as it is. With --repository, the named repositories are pulled. Without it, the source
is a registry of Deckhouse, and its release channels decide what is pulled.

The bundle appears in DIR once it is complete and verified. Until then only DIR/.tmp changes; the
next pull within 24 hours resumes from it. Content of an older bundle in DIR is not fetched again.
If content is missing in the source, nothing is published, and the exit status is 3. With
--allow-incomplete, everything else is published, and the exit status is also 3.

Beside the archives a pull writes bundle.json, the inventory of everything in DIR. verify, import
and serve use it to find missing files. With --sign-key it is signed.

The login is the first of these that is set: --username or --license; $LAYOUTPROXY_USERNAME and
$LAYOUTPROXY_PASSWORD; $D8_MIRROR_SOURCE_LOGIN and $D8_MIRROR_SOURCE_PASSWORD;
$D8_MIRROR_LICENSE_TOKEN; docker's credential store.`,
		Example: `  layoutproxy pull registry.deckhouse.io/deckhouse/ee /media/bundle --dry-run
  layoutproxy pull registry.deckhouse.io/deckhouse/ee /media/bundle --since-version v1.70
  layoutproxy pull registry.deckhouse.io/deckhouse/ee /media/bundle --include-module console@^1.0
  layoutproxy pull registry.example:5000/team /media/bundle --repository app --tag 'v1.*'`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPull(cmd, c, &flags, args[0], args[1])
		},
	}
	flags.Upstream.AddFlags(cmd.Flags())
	flags.AddLicenseFlag(cmd.Flags())
	flags.D8, flags.UserAgent = settings.D8SourceLogin(), userAgent()
	flags.flags(cmd.Flags())
	return cmd
}

func (p *pullFlags) flags(f *pflag.FlagSet) {
	o := &p.options
	f.StringArrayVar(&p.repositories.Paths, "repository", nil, "pull the repository at this `path` below REGISTRY/PATH unchanged; . means REGISTRY/PATH itself; repeatable")
	f.StringVar(&p.repositories.Tag, "tag", "", "with --repository, pull only tags that match this `glob`")
	f.StringVar(&p.platform, "platform", "", "pull only the `os/arch` variant of multi-platform images")
	f.BoolVar(&o.Tree, "tree", false, "write directories instead of archives")
	f.Int64VarP(&p.chunk, "images-bundle-chunk-size", "c", 0, "cut archives into chunks of at most this many `gigabytes` (10^9 bytes); 0 means no chunks")
	f.BoolVar(&p.gost, "gost-digest", false, "write a checksum file NAME.gostsum beside each archive or chunk NAME (GOST R 34.11-2012, 256 bit)")
	p.sign.AddFlags(f)
	f.StringVar(&o.TempDir, "tmp-dir", "", "`directory` for fetched blobs until the archives are written, on any file system (default DIR/.tmp)")
	f.BoolVar(&o.NoResume, "no-pull-resume", false, "start over, and ignore what an interrupted pull has fetched")
	f.BoolVar(&o.AllowIncomplete, "allow-incomplete", false, "if content is missing, publish what is complete without it, list what is missing, and exit with 3")
	f.BoolVar(&p.dryRun, "dry-run", false, "print what would be pulled, and write nothing")
	deckhouseFlags(f, &p.selection)
}

// deckhouseFlags adds the flags that select content of a Deckhouse registry.
func deckhouseFlags(f *pflag.FlagSet, s *deckhouse.Selection) {
	f.StringVar(&s.SinceVersion, "since-version", "", "oldest platform `version` to pull; no effect if the rock-solid channel has a newer version")
	f.StringVar(&s.DeckhouseTag, "deckhouse-tag", "", "pull one build of the platform: a channel, a version or any `tag`")
	f.StringVar(&s.IncludePlatform, "include-platform", "", "pull the platform versions that match a `constraint`, such as '>=1.64 <=1.68', ~1.65.0 or =v1.65.3")
	f.BoolVar(&s.IgnoreSuspend, "ignore-suspend", false, "pull from suspended release channels too")
	f.StringArrayVarP(&s.IncludeModules, "include-module", "i", nil, "pull only the modules `name[@constraint]`, even with --no-modules; repeatable")
	f.StringArrayVarP(&s.ExcludeModules, "exclude-module", "e", nil, "skip the module `name`; repeatable")
	f.StringArrayVar(&s.IncludePackages, "include-package", nil, "pull only the packages `name[@constraint]`; repeatable")
	f.StringArrayVar(&s.ExcludePackages, "exclude-package", nil, "skip the package `name`; repeatable")
	f.StringArrayVar(&s.IncludePlugins, "include-plugin", nil, "pull the d8 plugin `name[@constraint]` in addition to those that modules require; repeatable")
	f.BoolVar(&s.NoPlatform, "no-platform", false, "skip the platform")
	f.BoolVar(&s.NoSecurityDB, "no-security-db", false, "skip the vulnerability databases")
	f.BoolVar(&s.NoModules, "no-modules", false, "skip the modules")
	f.BoolVar(&s.NoPackages, "no-packages", false, "skip the packages")
	f.BoolVar(&s.NoInstaller, "no-installer", false, "skip the stand-alone installer")
	f.BoolVar(&s.OnlyExtraImages, "only-extra-images", false, "pull only the extra images of modules and packages")
	f.StringVar(&s.InstallerTag, "installer-tag", "", "pull the stand-alone installer with this `tag` (default latest, if it exists)")
	f.StringVar(&s.DeckhouseCLITag, "deckhouse-cli-tag", "", "pull the d8 program with this `tag` (default the newest stable version, if one exists)")
	f.BoolVar(&s.NoEditionSplit, "no-edition-split", false, "read the installer, the d8 program and its plugins below REGISTRY/PATH even if PATH ends in an edition")
	f.StringVar(&s.ModulesPathSuffix, "modules-path-suffix", "", "`path` of the modules below REGISTRY/PATH; / means REGISTRY/PATH itself (default modules)")
	f.BoolVar(&s.SkipVexImages, "skip-vex-images", false, "skip VEX attestations")
	f.BoolVar(&s.ProxyRegistry, "proxy-registry", false, "for a source that cannot list tags: take the names from the --include flags, and probe versions upwards from the lowest one in the constraint")
}

// complete turns the flags into the options of a pull.
func (p *pullFlags) complete(source client.Reference, dir string) (pull.Options, error) {
	o := p.options
	o.Source, o.Dir, o.Jobs, o.Program = source, dir, p.Jobs, madeBy()
	if p.chunk < 0 || p.chunk > 1<<33 {
		return o, exit.UsageError(fmt.Errorf("--images-bundle-chunk-size %d: must be from 0 to 8589934592 gigabytes", p.chunk))
	}
	o.ChunkSize = p.chunk * 1_000_000_000
	if p.gost {
		o.NewSum = func() hash.Hash { return streebog.New() }
	}
	if p.platform != "" {
		platform, err := pull.ParsePlatform(p.platform)
		if err != nil {
			return o, exit.UsageError(err)
		}
		o.Platform = platform
	}
	var err error
	if o.SignKey, err = p.sign.Read(); err != nil {
		return o, err
	}
	o.Planner, err = p.planner()
	return o, err
}

// planner returns the planner for the pull. With --repository, repositories are pulled unchanged.
// Otherwise, the source is a Deckhouse registry.
func (p *pullFlags) planner() (pull.Planner, error) {
	switch {
	case len(p.repositories.Paths) == 0 && p.repositories.Tag != "":
		return nil, exit.UsageError(pull.Usage("--tag can only be used with --repository"))
	case len(p.repositories.Paths) == 0:
		return &p.selection, nil
	case !p.selection.IsZero():
		return nil, exit.UsageError(pull.Usage("--repository cannot be combined with flags that select content of Deckhouse"))
	}
	return p.repositories, nil
}

func runPull(cmd *cobra.Command, c *console.Output, flags *pullFlags, from, dir string) error {
	reference, err := settings.ParseUpstream(from)
	if err != nil {
		return err
	}
	if cmd.Flags().Changed("license") && flags.License == "" {
		return exit.UsageError(errors.New("--license: the token is empty"))
	}
	options, err := flags.complete(reference, dir)
	if err != nil {
		return err
	}
	if bucket.IsPlace(dir) {
		return exit.UsageError(exit.WithHint(fmt.Errorf("%s is in a bucket, but a pull writes to a directory", dir), "pull into a directory, and import the bundle afterwards: layoutproxy import DIR --store "+dir))
	}
	if err := overlap.CheckNotStore(dir); err != nil {
		return err
	}
	options.Registry, err = flags.Open(reference, false, cmd.InOrStdin(), c.Log)
	if err != nil {
		return exit.RegistryError(err)
	}
	defer options.Registry.Close()
	// The first signal ends the bars: a second signal ends the process at once, and bars would stay
	// on the terminal. After the first signal, the current step still completes.
	watch := console.NewPhases(c.Log, c.Console)
	defer watch.Stop()
	ctx, stop := exit.OnFirstSignal(cmd.Context(), watch.Stop)
	defer stop()
	if flags.dryRun {
		plan, err := pull.Dry(ctx, options, watch)
		watch.Stop()
		if err != nil {
			return exit.PullError(ctx, err)
		}
		return cmp.Or(c.Print(cmd.OutOrStdout(), plan, func(w io.Writer) error { return printPullPlan(w, plan) }), incompleteError(plan.Problems))
	}
	report, err := pull.Run(ctx, options, watch)
	watch.Stop()
	return flags.conclude(ctx, c, cmd.OutOrStdout(), report, err)
}

// conclude prints the report of a pull. err is the error of pull.Run, which also returns a report if the bundle
// is published but cleaning up has failed.
func (p *pullFlags) conclude(ctx context.Context, c *console.Output, w io.Writer, report *pull.Report, err error) error {
	if report == nil {
		return exit.PullError(ctx, err)
	}
	done := judgedPull{Report: report, Ready: p.judge(ctx, c, report.Dir)}
	return cmp.Or(c.Print(w, done, done.print), errors.Join(incompleteError(report.Problems), err))
}

// judgedPull is the report of a pull, with the verdict on the bundle.
type judgedPull struct {
	*pull.Report
	Ready *ready.Verdict `json:"ready,omitempty"` // nil if there is no verdict: see judge
}

// judge returns which versions in the bundle are ready. It returns nil with --repository, if the bundle has
// no platform version, or if the bundle cannot be read. The verdict does not change the exit status.
func (p *pullFlags) judge(ctx context.Context, c *console.Output, dir string) *ready.Verdict {
	if len(p.repositories.Paths) > 0 {
		return nil
	}
	tree, err := source.Open(ctx, (&settings.Tree{}).Options([]string{dir}))
	var facts ready.Facts
	if err == nil {
		facts, err = gatherReady(ctx, tree, ready.Scope{})
	}
	if err != nil {
		c.Log.Warn("cannot judge which versions in the bundle are ready", zap.Error(err))
		return nil
	}
	verdict := ready.Judge(facts, ready.Question{})
	if len(verdict.Versions) == 0 {
		return nil
	}
	return &verdict
}

// print prints what was pulled, the verdict, and what is missing in the bundle.
func (p judgedPull) print(w io.Writer) error {
	b := bufio.NewWriter(w)
	printPulled(b, p.Report)
	if p.Ready != nil {
		if err := p.Ready.WriteText(b); err != nil {
			return err
		}
	}
	printLeftOut(b, p.Problems)
	return b.Flush()
}

// incompleteError returns the error for an incomplete bundle, or nil if there are no problems.
func incompleteError(problems []pull.Problem) error {
	if len(problems) == 0 {
		return nil
	}
	err := fmt.Errorf("the bundle is incomplete: %s left out", countThings(problems))
	return exit.ContentError(exit.WithHint(err, "everything else in the bundle is complete: when the source has the rest, pull again into the same directory"))
}

// printPullPlan prints a line per image, with archive, layout, tag and digest, and then a summary.
func printPullPlan(w io.Writer, plan *pull.Plan) error {
	b := bufio.NewWriter(w)
	for _, a := range plan.Archives {
		for _, l := range a.Layouts {
			for _, i := range l.Images {
				fmt.Fprintf(b, "%s\t%s\t%s\t%s\n", a.Name, l.Path, i.Tag, i.Digest)
			}
		}
	}
	if plan.Images() > 0 {
		fmt.Fprintln(b)
	}
	printComponents(b, plan.Components)
	printMissing(b, plan.Missing)
	blobs, bytes := plan.Blobs()
	var total int64
	for _, a := range plan.Archives {
		total += a.Size
	}
	fmt.Fprintf(b, "%d archives (%s in total): %d images, %d blobs (%s in total)\n", len(plan.Archives), console.Bytes(total), plan.Images(), blobs, console.Bytes(bytes))
	printLeftOut(b, plan.Problems)
	return b.Flush()
}

func printPulled(w io.Writer, r *pull.Report) {
	printComponents(w, r.Components)
	printMissing(w, r.Missing)
	fmt.Fprintf(w, "%s: %d written, %d unchanged; %d images, %d blobs (%s in total); %s received\n",
		r.Dir, len(r.Written), len(r.Kept), r.Images, r.Blobs, console.Bytes(r.Bytes), console.Bytes(r.Fetched))
}

// countThings returns the beginning of a sentence with the number of problems, such as "2 things
// are".
func countThings(problems []pull.Problem) string {
	return english.Plural(len(problems), "thing is", "things are")
}

// printLeftOut lists the content that the bundle should contain but does not. Each entry begins
// with its component, if it has one.
func printLeftOut(w io.Writer, problems []pull.Problem) {
	if len(problems) == 0 {
		return
	}
	fmt.Fprintf(w, "%s missing or damaged in the source, and left out:\n", countThings(problems))
	for _, p := range problems {
		if p.Component != "" {
			fmt.Fprintf(w, "  %s: ", p.Component)
		} else {
			fmt.Fprint(w, "  ")
		}
		fmt.Fprintln(w, p)
	}
}

func printComponents(w io.Writer, components []*pull.Component) {
	for _, c := range components {
		fmt.Fprintf(w, "%s: %d images, %s", c.Name, c.Images, console.Bytes(c.Bytes))
		if len(c.Versions) > 0 {
			fmt.Fprintf(w, ": %s", strings.Join(c.Versions, ", "))
		}
		fmt.Fprintln(w)
		for _, name := range deckhouse.Channels(c) {
			fmt.Fprintf(w, "  %s is %s\n", name, c.Channels[name])
		}
		for _, note := range c.Notes {
			fmt.Fprintf(w, "  note: %s\n", note)
		}
	}
}

// printMissing lists content that is missing in the source but is not required in the bundle.
func printMissing(w io.Writer, missing []pull.Problem) {
	if len(missing) == 0 {
		return
	}
	fmt.Fprintf(w, "%s missing in the source, and skipped:\n", countThings(missing))
	for _, m := range missing {
		fmt.Fprintf(w, "  %s\n", m)
	}
}
