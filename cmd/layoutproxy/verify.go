package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/source"
	"github.com/layoutproxy/layoutproxy/importer/push"
	"github.com/layoutproxy/layoutproxy/importer/verify"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

type verifyFlags struct {
	settings.Tree
	key     settings.VerifyKey
	against againstFlags
}

func newVerify(c *console.Output) *cobra.Command {
	var flags verifyFlags
	cmd := &cobra.Command{
		Use:   "verify SOURCE...",
		Short: "Verify every byte of the sources, or compare them with a registry",
		Long: `Verify the sources: read everything, and check for each tag that its manifests, configs and
layers are present and have the right size and digest. Every copy of every blob is read once,
even of blobs that no tag needs. Checksum files beside the archives (NAME.gostsum, NAME.sha256,
SHA256SUMS) are verified too.

The report groups problems by cause and names the tags that each cause affects. The exit status
is 0 if everything is complete and intact, and 3 if anything is missing, damaged or illegally
named, or differs from its checksum. Conflicts (two contents for one tag), unreferenced blobs and
checksums of absent files are listed, but do not change the exit status.

If a bundle has an inventory (bundle.json), verify also reports each file that is missing, differs
from the inventory, or is not listed in it. With --verify-key, the signature of the inventory is
checked first, and files that it does not list are refused.

With --against, verify compares a registry with the sources instead. It reports the tags,
manifests and blob sizes that differ from those that a push of the sources writes.`,
		Example: `  layoutproxy verify /media/bundle
  layoutproxy verify /media/bundle --output json
  layoutproxy verify /media/bundle --verify-key public.pem
  layoutproxy verify /media/bundle --against registry.example:5000/deckhouse/ee`,
		Args: someSource,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.checkIgnored(cmd.Flags()); err != nil {
				return err
			}
			var err error
			if flags.VerifyKey, err = flags.key.Read(); err != nil {
				return err
			}
			if flags.against.registry != "" {
				flags.against.VerifyKey = flags.VerifyKey
				flags.against.Repositories.NoEditionSplit = flags.NoEditionSplit
				return flags.against.verify(cmd.Context(), c, flags.S3, args, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
			}
			return verifySources(cmd.Context(), c, &flags, args, cmd.OutOrStdout())
		},
	}
	flags.flags(cmd.Flags())
	return cmd
}

// flags adds the flags of the command. --cache-dir is missing on purpose: verify reads the archives
// themselves, never a cached index.
func (v *verifyFlags) flags(f *pflag.FlagSet) {
	v.AddNameFlags(f)
	settings.AddEditionFlag(f, &v.NoEditionSplit)
	v.S3.AddFlags(f)
	v.key.AddFlags(f, "accept")
	v.against.flags(f)
}

// checkIgnored returns an error if the command line sets a flag that would have no effect.
func (v *verifyFlags) checkIgnored(given *pflag.FlagSet) error {
	var flags pflag.FlagSet
	if v.against.registry != "" {
		new(settings.Tree).AddNameFlags(&flags)
		if name := firstGiven(&flags, given); name != "" {
			return exit.UsageError(fmt.Errorf("--%s has no effect with --against: REGISTRY/PATH decides the names", name))
		}
		return nil
	}
	new(againstFlags).flags(&flags)
	if name := firstGiven(&flags, given); name != "" {
		return exit.UsageError(fmt.Errorf("--%s has no effect without --against", name))
	}
	return nil
}

// firstGiven returns the first of the flags that the command line sets to a value, or "".
func firstGiven(flags, given *pflag.FlagSet) (name string) {
	flags.VisitAll(func(f *pflag.Flag) {
		if g := given.Lookup(f.Name); name == "" && g.Changed && g.Value.String() != "" {
			name = f.Name
		}
	})
	return name
}

func verifySources(ctx context.Context, c *console.Output, flags *verifyFlags, sources []string, stdout io.Writer) error {
	ctx, stop := exit.OnSignal(ctx)
	defer stop()
	report, err := readSources(ctx, c, flags, sources)
	if err := exit.Ended(ctx, err, errors.New("interrupted before the report was complete")); err != nil {
		return err
	}
	if err := c.Print(stdout, report, report.WriteText); err != nil || report.Whole {
		return err
	}
	return exit.ContentError(errors.New("the sources are damaged or incomplete"))
}

func readSources(ctx context.Context, c *console.Output, flags *verifyFlags, sources []string) (report *verify.Report, err error) {
	tree, err := source.Open(ctx, flags.Options(sources))
	if err != nil {
		return nil, err
	}
	err = tree.ReadWith(ctx, func(s *layoutstore.Snapshot) (err error) {
		p := console.NewProgress(c.Log, c.Console, "verifying")
		defer p.Stop()
		report, err = verify.Run(ctx, s, verify.Options{Progress: p})
		return err
	})
	return report, err
}

type againstFlags struct {
	registry string // REGISTRY/PATH; empty without --against
	settings.Selection
	upstream settings.Upstream
}

func (a *againstFlags) flags(f *pflag.FlagSet) {
	f.StringVar(&a.registry, "against", "", "compare the sources with `REGISTRY/PATH`, to which they were pushed")
	a.Selection.AddFlags(f, "with --against, compare")
	a.upstream.AddFlags(f)
	a.upstream.D8, a.upstream.UserAgent = settings.D8RegistryLogin(), userAgent() // verify --against logs in with the same variables as push.
}

// check returns the registry to compare with, or an error for invalid flags.
func (a *againstFlags) check() (client.Reference, error) {
	to, err := settings.ParseUpstream(a.registry)
	if err != nil {
		return to, err
	}
	if err := a.Selection.Check(); err != nil {
		return to, err
	}
	return to, a.upstream.Check()
}

// verify compares a registry with the sources, and prints the differences.
func (a *againstFlags) verify(ctx context.Context, c *console.Output, s3 settings.S3, sources []string, stdin io.Reader, stdout, stderr io.Writer) error {
	ctx, stop := exit.OnSignal(ctx)
	defer stop()
	comparison, failures, err := a.compare(ctx, c, settings.Tree{S3: s3}, sources, stdin)
	if err := exit.Ended(ctx, err, errors.New("interrupted before the report was complete")); err != nil {
		return err
	}
	if err := c.Print(stdout, comparison, comparison.WriteText); err != nil {
		return err
	}
	for _, p := range failures {
		console.PrintLine(stderr, p)
	}
	return a.comparisonError(comparison, failures)
}

// compare compares a registry with the sources. It does not write to the registry. It also returns
// the problems of the sources: content that they affect is not compared.
func (a *againstFlags) compare(ctx context.Context, c *console.Output, flags settings.Tree, sources []string, stdin io.Reader) (*push.Comparison, []layoutstore.Problem, error) {
	to, err := a.check()
	if err != nil {
		return nil, nil, err
	}
	_, plan, err := source.PlanPush(ctx, &a.Selection, flags, sources, to)
	if err != nil {
		return nil, nil, err
	}
	failures := plan.Failures(a.Repositories)
	if len(plan.Repositories) == 0 && len(failures) == 0 {
		return nil, nil, exit.ContentError(exit.WithHint(errors.New("there is nothing to compare: no repository of the sources has content"), "layoutproxy list SOURCE... shows their content"))
	}
	upstream, err := a.upstream.Open(to, false, stdin, c.Log)
	if err != nil {
		return nil, nil, err
	}
	defer upstream.Close()
	comparison, err := push.Compare(ctx, upstream, plan, a.upstream.Jobs)
	return comparison, failures, exit.PushError(err)
}

// comparisonError returns an error if the registry differs from the sources, if sources are damaged
// or incomplete, or if the registry failed to list some referrers. Otherwise it returns nil.
func (a *againstFlags) comparisonError(c *push.Comparison, failures []layoutstore.Problem) error {
	places := func(n int) string { return english.Plural(n, "place", "") }
	if len(failures) > 0 {
		return exit.ContentError(exit.WithHint(fmt.Errorf("the sources are damaged or incomplete in %s, and %s differs from them in %s", places(len(failures)), c.Registry, places(len(c.Differences))),
			"layoutproxy verify SOURCE... reports their problems"))
	}
	if len(c.Differences) == 0 && len(c.Unproven) > 0 {
		return exit.WithHint(fmt.Errorf("%s refused to answer in %s, so not everything was compared", c.Registry, places(len(c.Unproven))),
			"everything that could be compared is equal; log in as a user who may also read the rest, and compare again")
	}
	if len(c.Differences) == 0 {
		return nil
	}
	return exit.ContentError(exit.WithHint(fmt.Errorf("%s differs from the sources in %s", c.Registry, places(len(c.Differences))),
		"layoutproxy push "+a.placeFlags(c.NeedsCheck)+"SOURCE... "+c.Registry+" sends what is missing"))
}

// placeFlags returns the flags for a push that repairs the registry. They give repositories the
// same names as this comparison. If check is true, --check-blobs is one of them.
func (a *againstFlags) placeFlags(check bool) (flags string) {
	if check {
		flags = "--check-blobs "
	}
	if a.Repositories.NoEditionSplit {
		flags += "--no-edition-split "
	}
	if a.Repositories.ModulesPath != "" {
		flags += "--modules-path-suffix " + a.Repositories.ModulesPath + " "
	}
	return flags
}
