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
	"github.com/layoutproxy/layoutproxy/importer/verify"
	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// verifyFlags are the flags of verify.
type verifyFlags struct {
	treeFlags
	against againstFlags
}

func newVerify(c *console.Output) *cobra.Command {
	var flags verifyFlags
	cmd := &cobra.Command{
		Use:   "verify SOURCE...",
		Short: "Read everything and say which tag lacks what",
		Long: `Read everything that a server of these sources would serve, and say whether it is
whole: for each tag that its manifests, configs and layers are there, with the size
and the digest that they should have. Every copy of every blob is read once, also
what no tag leads to. Checksums beside the archives (NAME.gostsum, NAME.sha256,
SHA256SUMS) are compared as well.

What is wrong comes grouped by its cause, with the tags that it takes. The exit
status is 0 if all is whole, and 3 if anything is missing, short, wrong or illegal,
or differs from its checksum. Two contents for one tag, blobs that nothing needs and
checksums of files that are not here are listed and change nothing.

With --against the sources are compared with a registry in place of that: its tags,
the bytes of its manifests and the sizes of its blobs, as a push would have made them.`,
		Args: someSource,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.idle(cmd.Flags()); err != nil {
				return err
			}
			if flags.against.registry != "" {
				flags.against.selection.NoEditionSplit = flags.noEditionSplit
				return flags.against.verify(cmd.Context(), c, args, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
			}
			return verifySources(cmd.Context(), c, &flags, args, cmd.OutOrStdout())
		},
	}
	flags.flags(cmd.Flags())
	return cmd
}

// flags are those of the tree but for the kept indexes: what is to be verified is
// read from the archives themselves.
func (v *verifyFlags) flags(f *pflag.FlagSet) {
	v.nameFlags(f)
	editionFlag(f, &v.noEditionSplit)
	v.against.flags(f)
}

// idle is the error for a flag that was given and would be ignored.
func (v *verifyFlags) idle(given *pflag.FlagSet) error {
	var flags pflag.FlagSet
	if v.against.registry != "" {
		new(treeFlags).nameFlags(&flags)
		if name := firstGiven(&flags, given); name != "" {
			return exit.UsageError(fmt.Errorf("--%s: the names are those of the registry, which --against gives", name))
		}
		return nil
	}
	new(againstFlags).flags(&flags)
	if name := firstGiven(&flags, given); name != "" {
		return exit.UsageError(fmt.Errorf("--%s: it is for --against; without that no registry is asked, and everything is verified", name))
	}
	return nil
}

// firstGiven is the first of some flags that was given a value, or empty.
func firstGiven(flags, given *pflag.FlagSet) (name string) {
	flags.VisitAll(func(f *pflag.Flag) {
		if g := given.Lookup(f.Name); name == "" && g.Changed && g.Value.String() != "" {
			name = f.Name
		}
	})
	return name
}

// verifySources verifies the sources and writes the report.
func verifySources(ctx context.Context, c *console.Output, flags *verifyFlags, sources []string, stdout io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	report, err := readSources(ctx, c, flags, sources)
	if ctx.Err() != nil {
		return exit.InterruptedError(errors.New("interrupted before the end: there is no report"))
	}
	if err != nil {
		return err
	}
	if err := c.Print(stdout, report, report.WriteText); err != nil || report.Whole {
		return err
	}
	return exit.ContentError(errors.New("the sources are not whole"))
}

// readSources reads the sources, once more from the start where one of them changed
// before the reading began.
func readSources(ctx context.Context, c *console.Output, flags *verifyFlags, sources []string) (*verify.Report, error) {
	tree, err := flags.open(ctx, sources)
	if err != nil {
		return nil, err
	}
	for again := false; ; again = true {
		p := console.NewProgress(c.Log, c.Console, "verifying")
		report, err := verify.Run(ctx, tree.Snapshot(), verify.Options{Progress: p})
		p.Stop()
		if !errors.Is(err, layoutstore.ErrStale) || again {
			return report, err
		}
		if _, err := tree.Refresh(ctx); err != nil {
			return nil, fmt.Errorf("looking at the sources again: %w", err)
		}
	}
}
