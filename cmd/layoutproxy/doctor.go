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

// doctorFlags are the flags of doctor.
type doctorFlags struct {
	settings.Upstream
	hostsDir string
}

func newDoctor(c *console.Output) *cobra.Command {
	var flags doctorFlags
	cmd := &cobra.Command{
		Use:   "doctor URL [IMAGE]",
		Short: "Pull through a running proxy step by step, and say what is wrong",
		Long: `Take the steps of a pull through the registry at URL one by one, and say of each
that fails what is to be done: name, connection, TLS, API, credentials, clock; with an
IMAGE its tag, manifest, children, and blobs with a range; on this node hosts.toml, and
whether the containerd that runs reads it. IMAGE is REPOSITORY:TAG, or as nodes name
it, with the registry that the proxy stands for in front.

It changes nothing, and asks one thing after another and none twice, whatever --jobs
and --retries say. The exit status is 0 if no step fails, 1 if
one does, 3 if what fails is missing or damaged content.`,
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
	f.StringVar(&flags.hostsDir, "hosts-dir", "", "certs.d `directory` of this node; by default the one that the running containerd reads")
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
	return judgement(report)
}

// judgement makes an exit status of a report.
func judgement(report *doctor.Report) error {
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

// printSteps prints a line a step, and below it what to do.
func printSteps(w io.Writer, report *doctor.Report) error {
	var b strings.Builder
	for _, s := range report.Steps {
		fmt.Fprintf(&b, "%-8s %-12s %s\n", s.State, s.Name, s.Detail)
		if s.Advice != "" {
			fmt.Fprintf(&b, "%21s → %s\n", "", s.Advice)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
