package pruning

import (
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/layoutproxy/layoutproxy/importer/prune"
)

// FuzzPolicy parses any file. An accepted policy has a valid rule, and stays the same when it is
// written and parsed again.
func FuzzPolicy(f *testing.F) {
	for _, s := range []string{
		"", "# nothing\n", "keep-newest: 2\n", "keep-newest: 2\nolder-than: 720h\nkeep: [app, \"modules/*:v1.2.*\"]\n", "deployed: v1.69.3\nkeep-previous: 1\ngrace: 0s\n",
		"keep-newest: -1\n", "keep-newest: 2\ngrace: -1s\n", "keep-newest: 2\ngrace: 0\n", "keep-previous: 1\n", "keep: ['a[']\n", "keep-newest: 2\n---\nkeep-newest: 9\n", "keep-newest: 2\nkeep-newest: 3\n",
		"unknown: 1\n", "keep-bundle: [/dev/zero]\n", "repack: true\nkeep-release: [v1.70.1]\n", "older-than: 1\n", "&a [*a]", "\x00",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parsePolicy(data)
		if err != nil {
			return
		}
		if err := r.Policy.Check(); err != nil || r.Grace < 0 || r.Policy.IsEmpty() {
			t.Fatalf("parsePolicy(%q) = %+v (error of Check: %v), want a valid policy with a rule and a grace period of at least 0", data, r, err)
		}
		again := write(t, r)
		second, err := parsePolicy(again)
		if err != nil || string(write(t, second)) != string(again) {
			t.Fatalf("parsePolicy(%q) = %+v, error %v; want %+v, as for %q", again, second, err, r, data)
		}
	})
}

func write(t *testing.T, r prune.Request) []byte {
	t.Helper()
	grace := r.Grace.String()
	data, err := yaml.Marshal(policyFile{r.Policy, &grace, r.Repack})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A file with two policies is refused: otherwise one of them would be ignored.
func TestPolicyFileWithTwoDocumentsIsRefused(t *testing.T) {
	t.Parallel()
	if r, err := parsePolicy([]byte("keep-newest: 1\n---\ndeployed: v1.69.3\n")); err == nil {
		t.Errorf("a file with two policies is parsed as %+v, want an error", r)
	}
	if r, err := parsePolicy([]byte("keep-newest: 1\n")); err != nil || r.Grace != 15*time.Minute {
		t.Errorf("a file with one policy is parsed as %+v (error: %v), want a grace period of 15 minutes", r, err)
	}
}

// As in the flag --grace, 0 needs no unit. Other numbers need one. The YAML library itself reads no number as a
// time.Duration (go.yaml.in/yaml/v3, decode.go, func (*decoder) scalar).
func TestGraceOfPolicyFile(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"0": 0, "0s": 0, "1h": time.Hour, "'90s'": 90 * time.Second, "": DefaultGrace} {
		if r, err := parsePolicy([]byte("keep-newest: 1\ngrace: " + text + "\n")); err != nil || r.Grace != want {
			t.Errorf("with the grace %q, the file is parsed as %+v (error: %v), want a grace period of %s", text, r, err, want)
		}
	}
	for _, text := range []string{"15", "soon", "''", "[1h]", "-1s"} {
		if r, err := parsePolicy([]byte("keep-newest: 1\ngrace: " + text + "\n")); err == nil {
			t.Errorf("with the grace %q, the file is parsed as %+v, want an error", text, r)
		}
	}
}
