package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/daemon"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
)

func newServe(c *console.Output) *cobra.Command {
	var flags settings.Serve
	cmd := &cobra.Command{
		Use:   "serve [SOURCE...]",
		Short: "Serve a bundle as a read-only registry",
		Long: `Serve bundles as a read-only registry, without unpacking them.

A SOURCE is one of these:
  - a directory with archives (NAME.tar), archives cut into chunks (NAME.tar.0000.chunk and so
    on), unpacked OCI image layouts, or all of them;
  - one archive;
  - any one chunk of an archive;
  - any of these in a bucket: s3://BUCKET/PREFIX.

The path of a layout in its source is the name of its repository, below the root. All sources
together are one tree. If two sources have the same tag, the later source wins.

The configuration file and the environment may set every flag. Flags override the environment,
and the environment overrides the file.`,
		Example: `  layoutproxy serve /media/bundle
  layoutproxy serve /media/bundle --listen 0.0.0.0:5000 --tls-cert cert.pem --tls-key key.pem
  layoutproxy serve s3://mirror/releases --s3-endpoint https://rgw.example:8443
  layoutproxy serve --store /srv/store --drop-dir /srv/incoming
  layoutproxy serve --config /etc/layoutproxy/config.yaml --check-config
  LAYOUTPROXY_LISTEN=:5000 layoutproxy serve /media/bundle`,
		Annotations: map[string]string{settings.FromEnvironment: "true"},
		Args:        cobra.ArbitraryArgs, // Sources may also come from the configuration.
		PersistentPreRunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.Complete(cmd.Flags(), args, os.Environ()); err != nil {
				c.Started = true // This keeps run from marking err as wrong usage: err has its own exit status.
				return err
			}
			return c.Start(cmd.ErrOrStderr())
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), c, &flags, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	settings.AcceptOldNames(cmd.Flags())
	flags.AddFlags(cmd.Flags())
	flags.Store.Upstream.UserAgent = userAgent()
	return cmd
}

// serve serves the sources until a signal arrives or ctx ends.
func serve(ctx context.Context, c *console.Output, flags *settings.Serve, stdout, stderr io.Writer) error {
	options := daemon.Options{Settings: flags, Version: version, Log: c.Log, Problems: stderr}
	flags.Config.Warn(c.Log)
	if flags.Config.Check {
		if err := daemon.Check(options); err != nil {
			return err
		}
		_, err := fmt.Fprintln(stdout, "the configuration is valid")
		return err
	}
	if os.Getenv("GOGC") == "" {
		// The heap is only a few megabytes. With Go's default, a busy server would collect garbage
		// dozens of times per second.
		debug.SetGCPercent(200)
	}
	ctx, stop := exit.OnSignal(ctx) // A signal also ends the first scan.
	defer stop()
	s, err := daemon.New(ctx, options)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	return s.Run(ctx)
}
