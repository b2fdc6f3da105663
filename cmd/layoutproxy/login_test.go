package main

import (
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// A pull logs in with the variables of d8 mirror pull, and a push with those of d8 mirror push.
// Neither uses the variables of the other.
func TestPullAndPushUseVariablesOfD8(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("app")
	l.Tag(l.Image(layouttest.Image{Name: "app", LayerSizes: []int64{100}}), "v1")
	l.Write()
	r := registrytest.New(t, registrytest.Options{Basic: true})
	run := func(want int, env []string, args ...string) string {
		t.Helper()
		cmd := program(t, args...)
		cmd.Env = append(cmd.Environ(), env...)
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Fatalf("layoutproxy %q with the variables %q ends with status %d, want %d\n%s", args, env, got, want, out)
		}
		return string(out)
	}
	login := func(family string) []string {
		return []string{"D8_MIRROR_" + family + "_LOGIN=" + registrytest.Username, "D8_MIRROR_" + family + "_PASSWORD=" + registrytest.Password}
	}
	push := []string{"push", tree.Dir(), r.Host + "/shop"}
	run(exit.Failed, login("SOURCE"), push...)
	run(0, login("REGISTRY"), push...)
	run(0, login("REGISTRY"), "verify", tree.Dir(), "--against", r.Host+"/shop")
	pull := []string{"pull", r.Host + "/shop", t.TempDir(), "--repository", "app"}
	run(exit.Failed, login("REGISTRY"), pull...)
	run(0, login("SOURCE"), pull...)
	run(exit.Usage, nil, append(pull, "--license", "")...)
	run(exit.Usage, nil, append(pull, "--license", "x", "--username", "y", "--password-stdin")...)

	// The user name for a license token is license-token. The registry of this test refuses it.
	for name, set := range map[string]struct{ env, args []string }{
		"flag": {nil, []string{"--license", "a-token"}}, "environment": {[]string{"D8_MIRROR_LICENSE_TOKEN=a-token"}, nil},
	} {
		out := run(exit.Failed, set.env, append(pull, set.args...)...)
		if !strings.Contains(out, "license-token") || strings.Contains(out, "a-token") {
			t.Errorf("license token from the %s: got %s, want the user name license-token, and not the token", name, out)
		}
		if warned := strings.Contains(out, "on the command line"); warned != (name == "flag") {
			t.Errorf("license token from the %s: warning about the command line: got %t, want %t: %s", name, warned, !warned, out)
		}
	}
}
