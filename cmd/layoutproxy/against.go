package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/importer/push"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// againstFlags say which registry the sources are compared with, and what of them.
type againstFlags struct {
	registry string // REGISTRY/PATH; empty is none
	selectionFlags
	upstream upstreamFlags
}

func (a *againstFlags) flags(f *pflag.FlagSet) {
	f.StringVar(&a.registry, "against", "", "compare with `REGISTRY/PATH` what a push there would have made of the sources")
	a.selectionFlags.flags(f)
	a.upstream.flags(f)
	a.upstream.d8 = d8RegistryLogin() // it is the registry of a push
}

// check finds flags that are wrong, and that mean nothing without --against.
func (a *againstFlags) check() (client.Reference, error) {
	to, err := parseUpstream(a.registry)
	if err != nil {
		return to, err
	}
	if err := a.selectionFlags.check(); err != nil {
		return to, err
	}
	return to, a.upstream.check()
}

// verify compares a registry with the sources, and writes what differs.
func (a *againstFlags) verify(ctx context.Context, c *console.Output, sources []string, stdin io.Reader, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	comparison, gaps, err := a.compare(ctx, c, "", sources, stdin)
	if ctx.Err() != nil {
		return exit.InterruptedError(errors.New("interrupted before the end: there is no report"))
	}
	if err != nil {
		return err
	}
	if err := c.Print(stdout, comparison, comparison.WriteText); err != nil {
		return err
	}
	for _, g := range gaps {
		fmt.Fprintln(stderr, g)
	}
	return a.comparisonError(comparison, gaps)
}

// compare compares a registry with the sources and writes nothing to it. Gaps of the
// sources are told and not compared.
func (a *againstFlags) compare(ctx context.Context, c *console.Output, cacheDir string, sources []string, stdin io.Reader) (*push.Comparison, []fmt.Stringer, error) {
	to, err := a.check()
	if err != nil {
		return nil, nil, err
	}
	tree, plan, err := planPush(ctx, &a.selectionFlags, cacheDir, sources, to)
	if err != nil {
		return nil, nil, err
	}
	gaps := pushGaps(tree.Snapshot(), plan, a.selection)
	upstream, err := a.upstream.open(to, false, stdin, c.Log)
	if err != nil {
		return nil, nil, err
	}
	defer upstream.Close()
	comparison, err := push.Compare(ctx, upstream, plan, a.upstream.jobs)
	return comparison, gaps, exit.PushError(err)
}

// comparisonError is the error for a registry that differs from the sources, and for
// gaps of the sources, which nobody knows whether the registry has; or nil.
func (a *againstFlags) comparisonError(c *push.Comparison, gaps []fmt.Stringer) error {
	if len(gaps) > 0 {
		return exit.ContentError(exit.WithHint(fmt.Errorf("the sources are damaged or incomplete in %d places, and %s differs from them in %d", len(gaps), c.Registry, len(c.Differences)),
			"layoutproxy verify SOURCE... says what is wrong with them"))
	}
	if len(c.Differences) == 0 && len(c.Unproven) > 0 {
		return exit.WithHint(fmt.Errorf("%s does not let everything be compared, in %d places", c.Registry, len(c.Unproven)),
			"nothing that could be compared differs; log in as one who may read what is named above, and compare again")
	}
	if len(c.Differences) == 0 {
		return nil
	}
	return exit.ContentError(exit.WithHint(fmt.Errorf("%s differs from the sources in %d places", c.Registry, len(c.Differences)),
		"layoutproxy push "+a.places(c.NeedsCheck)+"SOURCE... "+c.Registry+" sends what is missing"))
}

// places are the flags that say where things are in the registry, as a push without them
// would send everything to other repositories; and the one that has a push look for
// missing blobs, if some are.
func (a *againstFlags) places(check bool) (flags string) {
	if check {
		flags = "--check-blobs "
	}
	if a.selection.NoEditionSplit {
		flags += "--no-edition-split "
	}
	if a.selection.ModulesPath != "" {
		flags += "--modules-path-suffix " + a.selection.ModulesPath + " "
	}
	return flags
}
