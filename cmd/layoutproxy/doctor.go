package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/registry/doctor"
)

type doctorFlags struct {
	settings.Upstream
	hostsDir string
}

func newDoctor(c *console.Output) *cobra.Command {
	var flags doctorFlags
	cmd := &cobra.Command{
		Use:   "doctor URL [IMAGE]",
		Short: "Pull through a running layoutproxy step by step, and report what is wrong",
		Long: `Check each step of a pull through the registry at URL (name, connection, TLS, API, credentials,
clock), and report what to do about each step that fails. With an IMAGE, doctor also checks its
tag, manifest, children and blobs. On a node, doctor also checks hosts.toml, and whether the
running containerd reads that file. IMAGE is REPOSITORY:TAG, or the name that nodes use, which
begins with the registry that layoutproxy replaces.

Doctor changes nothing. It sends one request at a time, without retries. The exit status is 0 if
no step fails, 1 if one does, and 3 if content is missing or damaged.`,
		Example: `  layoutproxy doctor http://127.0.0.1:5000
  layoutproxy doctor http://127.0.0.1:5000 registry.deckhouse.io/deckhouse/ee/install:v1.70.1`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runDoctor(cmd.Context(), c, &flags, args, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	flags.AddFlags(f)
	flags.UserAgent = userAgent()
	f.StringVar(&flags.hostsDir, "hosts-dir", "", "certs.d `directory` of this node (default the directory that the running containerd reads)")
	return cmd
}

func runDoctor(ctx context.Context, c *console.Output, flags *doctorFlags, args []string, stdin io.Reader, stdout io.Writer) error {
	options, err := flags.Options(stdin)
	if err != nil {
		return err
	}
	o := doctor.Options{URL: args[0], Client: options, HostsDir: flags.hostsDir}
	if !strings.Contains(o.URL, "://") {
		scheme := "https://"
		if flags.PlainHTTP {
			scheme = "http://"
		}
		o.URL = scheme + o.URL
	}
	if len(args) > 1 {
		o.Image = args[1]
	}
	report, err := doctor.Run(ctx, o)
	if errors.Is(err, doctor.ErrForm) {
		return exit.UsageError(err)
	}
	if err != nil {
		return err
	}
	if err := c.Print(stdout, report, func(w io.Writer) error { return printSteps(w, report) }); err != nil {
		return err
	}
	return reportError(report)
}

// reportError returns an error that names the failed steps, or nil if no step failed.
func reportError(report *doctor.Report) error {
	if report.State != doctor.Failed {
		return nil
	}
	var failed []string
	for _, s := range report.Steps {
		if s.State == doctor.Failed {
			failed = append(failed, s.Name)
		}
	}
	err := errors.New("failed: " + strings.Join(failed, ", "))
	if report.Content() {
		return exit.ContentError(err)
	}
	return err
}

// printSteps prints one line per step. If a step has advice, the advice follows on the next line.
func printSteps(w io.Writer, report *doctor.Report) error {
	colors := map[doctor.State]console.Color{doctor.OK: console.Green, doctor.Warning: console.Yellow, doctor.Failed: console.Red}
	var b strings.Builder
	for _, s := range report.Steps {
		fmt.Fprintf(&b, "%s %-12s %s\n", console.Paint(w, colors[s.State], fmt.Sprintf("%-8s", s.State)), s.Name, s.Detail)
		if s.Advice != "" {
			fmt.Fprintf(&b, "%21s → %s\n", "", s.Advice)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
