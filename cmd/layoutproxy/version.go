package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

// Set by the linker: see the Makefile.
var (
	version = "devel"
	commit  = "unknown"
)

func newVersion(c *common) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version, commit and Go version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.output == "json" {
				return printJSON(cmd.OutOrStdout(), map[string]string{"version": version, "commit": commit, "go": runtime.Version()})
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "layoutproxy %s commit %s %s\n", version, commit, runtime.Version())
			return err
		},
	}
}
