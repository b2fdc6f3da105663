// Layoutproxy serves trees of OCI image layouts as a container registry.
//
// This package has one file per command. Each defines the flags, makes one call and prints the
// result. Code that several commands share, and the server, are in the packages below internal.
package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
)

// run runs the command that args name, and returns its exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root, common := newRoot()
	root.SetArgs(args)
	stderr, terminal := console.NewPrintable(stderr), stderr
	root.SetOut(console.NewPrintable(stdout))
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil && !common.Started {
		err = exit.UsageError(err)
	}
	if err == nil {
		return exit.Done
	}
	if exit.Status(err) == exit.Interrupted && console.IsTerminal(stderr) {
		fmt.Fprint(terminal, "\r") // The message overwrites the ^C that the terminal has printed.
	}
	if msg := err.Error(); msg != "" {
		fmt.Fprintf(stderr, "layoutproxy: %s\n", msg)
	}
	if hint := exit.Hint(err); hint != "" {
		fmt.Fprintf(stderr, "layoutproxy: hint: %s\n", hint)
	}
	return exit.Status(err)
}

func newRoot() (*cobra.Command, *console.Output) {
	c := &console.Output{}
	root := &cobra.Command{
		Use:   "layoutproxy",
		Short: "Turn a mirror bundle into a container registry",
		Long: `layoutproxy turns a mirror bundle into a container registry, without unpacking it. It also
pulls, verifies, imports and pushes such bundles. A bundle is a directory of archives (as
"d8 mirror pull" writes them, whole or cut into chunks) or of OCI image layouts.`,
		Example: `  layoutproxy list /media/bundle
  layoutproxy verify /media/bundle
  layoutproxy serve /media/bundle
  layoutproxy doctor http://127.0.0.1:5000`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noOther,

		SuggestionsMinimumDistance: 2,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return c.Start(cmd.ErrOrStderr())
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.Flags().BoolP("version", "v", false, "print version, commit and Go version")
	root.SetVersionTemplate(versionLine())
	c.AddFlags(root.PersistentFlags())
	showGroups(root)
	root.AddCommand(newServe(c), newList(c), newVerify(c), newReady(c), newImport(c), newInventory(c), newPrune(c), newPush(c), newPull(c), newMirrorConfig(c), newDoctor(c), newStatus(c), newVersion(c))
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return exit.WithHint(err, cmd.CommandPath()+" --help lists the flags")
	})
	for _, cmd := range root.Commands() {
		cmd.Args = withUsage(cmd.Args)
	}
	return root, c
}

// withUsage returns args, but an error of args that has no hint gets the usage of the command as its hint.
func withUsage(args cobra.PositionalArgs) cobra.PositionalArgs {
	if args == nil {
		return nil
	}
	return func(cmd *cobra.Command, given []string) error {
		err := args(cmd, given)
		if err == nil || exit.Hint(err) != "" {
			return err
		}
		return exit.WithHint(err, "write "+cmd.UseLine())
	}
}

// noOther returns an error for an unknown command, with the most similar command as a hint.
func noOther(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown command %q for %q", args[0], cmd.Name())
	near := cmd.SuggestionsFor(args[0])
	if len(near) == 0 {
		return err
	}
	return exit.WithHint(err, fmt.Sprintf("did you mean %s %s?", cmd.Name(), near[0]))
}
