package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
)

// The linker sets these variables (see the Makefile).
var (
	version = "devel"
	commit  = "unknown"
)

// userAgent returns the User-Agent header for requests to other registries.
func userAgent() string { return "layoutproxy/" + version }

// madeBy returns the program's name and version, for files that it writes.
func madeBy() string { return "layoutproxy " + version }

// versionLine returns the output of layoutproxy version and --version.
func versionLine() string {
	return fmt.Sprintf("layoutproxy %s commit %s %s\n", version, commit, runtime.Version())
}

func newVersion(c *console.Output) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version, commit and Go version",
		Example: `  layoutproxy version
  layoutproxy version --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			facts := map[string]string{"version": version, "commit": commit, "go": runtime.Version()}
			return c.Print(cmd.OutOrStdout(), facts, func(w io.Writer) error {
				_, err := io.WriteString(w, versionLine())
				return err
			})
		},
	}
}
