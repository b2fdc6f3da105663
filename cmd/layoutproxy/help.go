package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
)

// showGroups makes a command and those below it show their flags by purpose, in at most
// 100 columns.
func showGroups(root *cobra.Command) {
	root.SetUsageFunc(func(cmd *cobra.Command) error { return writeUsage(cmd.OutOrStderr(), cmd) })
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		about := strings.TrimSpace(cmd.Long)
		if about == "" {
			about = cmd.Short
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s\n\n", about)
		_ = writeUsage(cmd.OutOrStdout(), cmd) // fails only when the reader has gone
	})
}

// writeUsage writes the part of a help that follows the description.
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
	cmd.InheritedFlags() // adds them to the flags of the command
	settings.WriteGroups(&b, cmd.Flags(), cmd.Annotations[settings.FromEnvironment] != "")
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\n\"%s COMMAND --help\" explains a command.\n", cmd.CommandPath())
	}
	_, err := w.Write(b.Bytes())
	return err
}
