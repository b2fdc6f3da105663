package settings

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
)

var update = flag.Bool("update", false, "rewrite docs/config.schema.json")

func serveSet() (*Serve, *pflag.FlagSet) {
	set := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	(&console.Output{}).AddFlags(set)
	flags := &Serve{}
	flags.AddFlags(set)
	return flags, set
}

func TestSchemaMatchesFlags(t *testing.T) {
	_, set := serveSet()
	want, err := schema(set)
	if err != nil {
		t.Fatal(err)
	}
	const file = "../../../../docs/config.schema.json"
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Errorf("%s does not match the flags, want it to match: to update it, run go test ./cmd/layoutproxy/internal/settings -run TestSchemaMatchesFlags -update", file)
	}
}

// The environment and the configuration file can set every flag of serve.
func TestEnvironmentAndFileSetEveryFlag(t *testing.T) {
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
		if err := (&Configuration{}).complete(set, nil, []string{variable(f.Name) + "=" + value}); err != nil {
			t.Fatal(err)
		}
		want := []string{value}
		if diff := cmp.Diff(want, flagValues(set.Lookup(f.Name))); diff != "" {
			t.Errorf("%s set in the environment: unexpected value (-want +got): %s", f.Name, diff)
		}
		_, set = serveSet()
		c := &Configuration{set: set}
		if err := c.parse([]byte(f.Name + ": " + value + "\n")); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, flagValues(set.Lookup(f.Name))); diff != "" {
			t.Errorf("%s set in the file: unexpected value (-want +got): %s", f.Name, diff)
		}
	})
}

func TestMostSimilarName(t *testing.T) {
	names := []string{"listen", "admin-listen", "tls-cert", "tls-key", "sources"}
	for written, want := range map[string]string{
		"lisen": "listen", "admin_listen": "admin-listen", "tls-crt": "tls-cert", "source": "sources", "": "listen",
	} {
		if got := nearest(written, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", written, got, want)
		}
	}
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"kitten", "sitting", 3}, {"listen", "silent", 4}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

// FuzzConfiguration parses any file. The file must be accepted, or refused with a line number. The
// values of an accepted file must also be valid on the command line.
func FuzzConfiguration(f *testing.F) {
	example, err := os.ReadFile("../../../../docs/config.example.yaml")
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
		c := &Configuration{set: set}
		if err := c.parse([]byte(data)); err != nil {
			line, _, ok := strings.Cut(err.Error(), ":")
			if !ok || line == "" || strings.Trim(line, "0123456789") != "" {
				t.Fatalf("parsing %q: got the error %v, want one that begins with a line number", data, err)
			}
			return
		}
		_, again := serveSet()
		set.VisitAll(func(flag *pflag.Flag) {
			if err := setFlag(again.Lookup(flag.Name), flagValues(flag)); err != nil {
				t.Fatalf("setting %s on the command line to the value from the file %q: got the error %v, want none", flag.Name, data, err)
			}
		})
		if len(c.Roots) > len(c.Sources) {
			t.Fatalf("parsing %q: %d sources have their own roots, want at most the number of sources, %d", data, len(c.Roots), len(c.Sources))
		}
	})
}
