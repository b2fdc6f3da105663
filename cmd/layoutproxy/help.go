package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
)

// helpWidth is the maximum width of a line of help, in columns.
const helpWidth = 100

// showGroups groups the flags in the help of root and all its subcommands by their purpose.
func showGroups(root *cobra.Command) {
	root.SetUsageFunc(func(cmd *cobra.Command) error { return writeUsage(cmd.OutOrStderr(), cmd) })
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		about := strings.TrimSpace(cmd.Long)
		if about == "" {
			about = cmd.Short
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s\n\n", about)
		_ = writeUsage(cmd.OutOrStdout(), cmd) // fails only if nobody reads the output any more
	})
}

// writeUsage writes all help after the description: usage, examples, commands and flags.
func writeUsage(w io.Writer, cmd *cobra.Command) error {
	var b bytes.Buffer
	b.WriteString("Usage:\n")
	if cmd.Runnable() && cmd.HasParent() {
		fmt.Fprintf(&b, "  %s\n", cmd.UseLine())
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "  %s COMMAND [ARGUMENT...]\n", cmd.CommandPath())
	}
	if cmd.Example != "" {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("\nCommands:\n")
		width := 0
		for _, c := range cmd.Commands() {
			width = max(width, len(c.Name()))
		}
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() || c.Name() == "help" {
				fmt.Fprintf(&b, "  %-*s %s\n", width, c.Name(), c.Short)
			}
		}
	}
	cmd.InheritedFlags() // As a side effect, this adds inherited flags to cmd.Flags().
	for _, g := range settings.Groups(cmd.Flags(), cmd.Annotations[settings.FromEnvironment] != "") {
		// FlagUsagesWrapped may exceed its width by five columns, in the last line of a flag.
		fmt.Fprintf(&b, "\n%s:\n%s", g.Title, g.Flags.FlagUsagesWrapped(helpWidth-5))
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\n\"%s COMMAND --help\" explains a command.\n", cmd.CommandPath())
	}
	_, err := w.Write(b.Bytes())
	return err
}
