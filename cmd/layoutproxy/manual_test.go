package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/manual"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// writePages writes the manual pages, and returns their content by file name.
func writePages(t *testing.T, o manual.Options) map[string]string {
	t.Helper()
	root, _ := newRoot()
	dir := filepath.Join(t.TempDir(), "man")
	layouttest.Try(t, manual.Write(root, dir, o))
	files, err := os.ReadDir(dir)
	layouttest.Try(t, err)
	pages := map[string]string{}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		layouttest.Try(t, err)
		pages[f.Name()] = string(data)
	}
	return pages
}

// Each command has a manual page with its flags and examples. The same options give the same pages.
func TestManualHasEveryCommandAndFlag(t *testing.T) {
	t.Setenv("HOME", "/home/maker")
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("XDG_STATE_HOME", "")
	o := manual.Options{Version: "v9.8.7", Date: time.Unix(1700000000, 0), Home: "/home/maker"}
	pages := writePages(t, o)
	if diff := cmp.Diff(pages, writePages(t, o)); diff != "" {
		t.Errorf("two runs write different pages, want equal pages (-first +second): %s", diff)
	}
	root, _ := newRoot()
	commands := append([]*cobra.Command{root}, root.Commands()...)
	for _, c := range commands {
		page := pages[strings.ReplaceAll(c.CommandPath(), " ", "-")+".1"]
		for _, want := range []string{`"2023\-11\-14" "layoutproxy v9.8.7"`, ".SH EXIT STATUS", ".SH EXAMPLES", ".SH OPTIONS"} {
			if !strings.Contains(page, want) {
				t.Errorf("the page for %s does not contain %s, want it", c.CommandPath(), want)
			}
		}
		if strings.Contains(page, "/home/maker") {
			t.Errorf("the page for %s contains the home directory of this machine, want ~", c.CommandPath())
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && !strings.Contains(page, strings.ReplaceAll("--"+f.Name, "-", `\-`)) {
				t.Errorf("the page for %s does not contain --%s, want every flag", c.CommandPath(), f.Name)
			}
		})
	}
	if len(pages) != len(commands) || !strings.Contains(pages["layoutproxy-serve.1"], "[$LAYOUTPROXY_LISTEN]") {
		t.Errorf("got %d pages for %d commands, want one each, and environment variables on the page for serve", len(pages), len(commands))
	}
}

// A line of text that looks like a request of roff is escaped.
func TestManualEscapesText(t *testing.T) {
	root := &cobra.Command{Use: "x", Short: `a \ b`, Long: ".TH is not a request\n'nor this\n\n  - kept as it is\n  - too"}
	dir := t.TempDir()
	layouttest.Try(t, manual.Write(root, dir, manual.Options{}))
	data, err := os.ReadFile(filepath.Join(dir, "x.1"))
	layouttest.Try(t, err)
	for _, want := range []string{`a \e b`, "\n\\&.TH is not a request\n\\&'nor this\n", ".nf\n  \\- kept as it is\n  \\- too\n.fi\n"} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the page is %s, want it to contain %q", data, want)
		}
	}
}
