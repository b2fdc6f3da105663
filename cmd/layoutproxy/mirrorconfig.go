package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/registry/containerd"
)

type mirrorFlags struct {
	containerd.MirrorOptions
	write  string
	remove bool
	proc   string // path of the proc file system; tests use another directory
}

// auto is the value of --write that stands for the directory that containerd on this node reads.
const auto = "auto"

func newMirrorConfig(c *console.Output) *cobra.Command {
	flags := mirrorFlags{proc: "/proc"}
	cmd := &cobra.Command{
		Use:   "mirror-config HOST",
		Short: "Print or write the hosts.toml that points containerd at a layoutproxy",
		Long: `Print the hosts.toml that makes containerd pull the images of the registry HOST through a
layoutproxy. With --write DIR, write it to DIR/HOST/hosts.toml; "auto" is the directory that the
containerd of this node reads. Other lines of an existing file stay unchanged: layoutproxy's block
is inserted before the hosts in the file. Writing again replaces the block. --remove removes the
block and restores the file.

HOST is the registry in the names of images, such as registry.example or registry.example:5000.
_default stands for every registry without a file of its own.`,
		Example: `  layoutproxy mirror-config registry.deckhouse.io --endpoint http://127.0.0.1:5000
  layoutproxy mirror-config registry.deckhouse.io --write auto
  layoutproxy mirror-config registry.deckhouse.io --write /etc/containerd/certs.d --remove`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			flags.Host = args[0]
			return mirrorConfig(c, &flags, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.Endpoint, "endpoint", "http://127.0.0.1:5000", "`URL` at which this node reaches layoutproxy")
	f.StringVar(&flags.CA, "ca", "", "`file` with the certificate authority (PEM) of layoutproxy")
	f.StringVar(&flags.ClientCert, "client-cert", "", "`file` with the client certificate (PEM) of this node")
	f.StringVar(&flags.ClientKey, "client-key", "", "`file` with the key (PEM) of the client certificate, if it is a separate file")
	f.BoolVar(&flags.OverridePath, "override-path", false, "use the path of the endpoint as the root of the API; /v2 is appended if missing")
	f.BoolVar(&flags.NoFallback, "no-fallback", false, "never fall back to HOST itself for images that layoutproxy does not have")
	f.StringVar(&flags.write, "write", "", "certs.d `directory` to write to, such as "+containerd.DefaultDir+"; auto means the directory that containerd on this node reads")
	f.BoolVar(&flags.remove, "remove", false, "remove the block that --write has added")
	return cmd
}

func mirrorConfig(c *console.Output, flags *mirrorFlags, stdout, stderr io.Writer) error {
	if flags.remove && flags.write == "" {
		return exit.UsageError(exit.WithHint(errors.New("--remove needs --write DIR"), "name the directory that was written to: --write "+containerd.DefaultDir+" --remove, or --write auto --remove"))
	}
	mirror, err := containerd.NewMirror(flags.MirrorOptions)
	if err != nil {
		if err = advised(err); exit.Hint(err) == "" {
			err = exit.WithHint(err, "see layoutproxy mirror-config --help")
		}
		return exit.UsageError(err)
	}
	if flags.write == "" {
		return printMirror(c, mirror, flags, stdout)
	}
	if flags.write == auto {
		dir, why, err := flags.readDir()
		if err != nil {
			return advised(err)
		}
		flags.write = dir
		fmt.Fprintf(stderr, "layoutproxy: %s\n", why)
	}
	write := mirror.Write
	if flags.remove {
		write = func(dir string) (containerd.Change, error) { return containerd.Remove(dir, flags.Host) }
	}
	change, err := write(flags.write)
	if err != nil {
		return advised(err)
	}
	if warning := flags.readElsewhere(); warning != "" {
		change.Warnings = append(change.Warnings, warning)
	}
	for _, warning := range change.Warnings {
		console.PrintLine(stderr, "layoutproxy: warning: "+warning)
	}
	return c.Print(stdout, change, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s: %s\n", change.File, change.Did)
		return err
	})
}

// readDir returns the directory that containerd on this node reads, and a text that says why.
func (f *mirrorFlags) readDir() (dir, why string, err error) {
	nodes, err := containerd.Nodes(f.proc)
	if err != nil {
		return "", "", exit.WithHint(fmt.Errorf("containerd runs on this node, but cannot be inspected: %w", err), "run as root, or name the directory with --write DIR")
	}
	return containerd.ReadDir(nodes)
}

// readElsewhere returns a warning if the file was written to the default directory, but containerd
// on this node reads a different directory. This is the case on nodes of Deckhouse.
func (f *mirrorFlags) readElsewhere() string {
	dir, why, err := f.readDir()
	if f.remove || err != nil || f.write != containerd.DefaultDir || dir == f.write {
		return ""
	}
	return why + ", and not " + f.write + ": use --write auto to write the file to the directory that containerd reads"
}

// printMirror prints the file. The comments in the file, and its path in JSON, name the directory that
// containerd on this node reads, or the default directory if readDir returns an error.
func printMirror(c *console.Output, mirror *containerd.Mirror, flags *mirrorFlags, stdout io.Writer) error {
	dir, _, err := flags.readDir()
	if err != nil {
		dir = containerd.DefaultDir
	}
	text := mirror.Text(dir)
	return c.Print(stdout, map[string]string{
		"host": flags.Host, "endpoint": mirror.Endpoint(), "file": mirror.File(dir), "hosts_toml": text,
	}, func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
}

// advised returns err with the advice of a [containerd.AdviceError] as its hint.
func advised(err error) error {
	var advice *containerd.AdviceError
	if errors.As(err, &advice) {
		return exit.WithHint(err, advice.Advice)
	}
	return err
}
