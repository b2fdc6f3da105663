package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
)

var update = flag.Bool("update", false, "write docs/config.schema.json anew")

// serveSet is the set of serve's flags, the common ones too.
func serveSet() (*serveFlags, *pflag.FlagSet) {
	set := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	(&console.Output{}).AddFlags(set)
	flags := &serveFlags{}
	serveSettings(set, flags)
	return flags, set
}

func TestSchemaIsCurrent(t *testing.T) {
	_, set := serveSet()
	want, err := schema(set)
	try(t, err)
	const file = "../../docs/config.schema.json"
	if *update {
		try(t, os.WriteFile(file, want, 0o644))
	}
	have, err := os.ReadFile(file)
	try(t, err)
	if !bytes.Equal(have, want) {
		t.Errorf("%s is not what the flags say: go test ./cmd/layoutproxy -run TestSchemaIsCurrent -update", file)
	}
}

// The example is read as the program reads it, with the files that it names.
func TestExampleConfiguration(t *testing.T) {
	data, err := os.ReadFile("../../docs/config.example.yaml")
	try(t, err)
	dir := t.TempDir()
	writePair(t, dir, "server", newAuthority(t))
	try(t, os.WriteFile(filepath.Join(dir, "htpasswd"), []byte("ci:$2y$05$926C3y10Quzn/LnqQH86VOEVh/18T6RnLaS.khre96jLNL/7e.K5W\n"), 0o600))
	file := filepath.Join(dir, "config.yaml")
	try(t, os.WriteFile(file, bytes.ReplaceAll(data, []byte("/etc/layoutproxy/"), []byte(dir+"/")), 0o644))
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), []string{"serve", "--config", file, "--check-config"}, &stdout, &stderr); status != exit.Done {
		t.Fatalf("status %d: %s", status, &stderr)
	}
	flags, set := serveSet()
	try(t, set.Parse([]string{"--config", file}))
	try(t, flags.complete(set, nil, nil))
	if len(flags.config.sources) < 2 || len(flags.config.roots) == 0 || !flags.tls.on() {
		t.Errorf("the example says less than it shows: %+v", flags)
	}
}

// Every flag of serve is in the environment and in the file by itself.
func TestEveryFlagIsEverywhere(t *testing.T) {
	_, defaults := serveSet()
	defaults.VisitAll(func(f *pflag.Flag) {
		if f.Name == "config" || f.Name == "check-config" {
			return
		}
		value := map[string]string{"bool": "true", "duration": "7s", "int": "7", "float64": "7"}[f.Value.Type()]
		if value == "" {
			value = "a-value"
		}
		_, set := serveSet()
		try(t, (&configuration{}).complete(set, nil, []string{variable(f.Name) + "=" + value}))
		want := []string{value}
		if diff := cmp.Diff(want, flagValues(set.Lookup(f.Name))); diff != "" {
			t.Errorf("%s of the environment: %s", f.Name, diff)
		}
		_, set = serveSet()
		c := &configuration{set: set}
		try(t, c.parse([]byte(f.Name+": "+value+"\n")))
		if diff := cmp.Diff(want, flagValues(set.Lookup(f.Name))); diff != "" {
			t.Errorf("%s of the file: %s", f.Name, diff)
		}
	})
}

func TestNearest(t *testing.T) {
	names := []string{"listen", "admin-listen", "tls-cert", "tls-key", "sources"}
	for written, want := range map[string]string{
		"lisen": "listen", "admin_listen": "admin-listen", "tls-crt": "tls-cert", "source": "sources", "": "listen",
	} {
		if got := nearest(written, names); got != want {
			t.Errorf("nearest to %q: %q, want %q", written, got, want)
		}
	}
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"kitten", "sitting", 3}, {"listen", "silent", 4}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance of %q and %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

// Whatever stands in a file is taken or refused with a line, and what is taken is
// taken again from the words of the flags.
func FuzzConfiguration(f *testing.F) {
	example, err := os.ReadFile("../../docs/config.example.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(example))
	for _, s := range []string{
		"", "---\n", "listen: a\nlisten: b", "sources: [a, {path: b, root-repository: [auto, x]}]",
		"rescan: 1s\nsettle: 1h", "listen: &a x\nadmin-listen: *a", "? [a]\n: b", "<<: {listen: a}", "a: &a [*a]", "\xff", "access-log: yes",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data string) {
		_, set := serveSet()
		c := &configuration{set: set}
		if err := c.parse([]byte(data)); err != nil {
			line, _, ok := strings.Cut(err.Error(), ":")
			if !ok || line == "" || strings.Trim(line, "0123456789") != "" {
				t.Fatalf("an error without a line: %v", err)
			}
			return
		}
		_, again := serveSet()
		set.VisitAll(func(flag *pflag.Flag) {
			if err := setFlag(again.Lookup(flag.Name), flagValues(flag)); err != nil {
				t.Fatalf("%s was taken and is not taken again: %v", flag.Name, err)
			}
		})
		if len(c.roots) > len(c.sources) {
			t.Fatalf("roots of %d sources, and sources %q", len(c.roots), c.sources)
		}
	})
}
