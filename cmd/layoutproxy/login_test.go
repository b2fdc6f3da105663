package main

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// The names are those of deckhouse-cli, internal/mirror/cmd/pull/flags/flags.go and
// internal/mirror/cmd/push/flags.go; that a login beats a license token there is from
// getAuthProvider in internal/mirror/cmd/pull.
func TestChooseLogin(t *testing.T) {
	all := map[string]string{
		"LAYOUTPROXY_USERNAME": "ours", "LAYOUTPROXY_PASSWORD": "1",
		"D8_MIRROR_SOURCE_LOGIN": "source", "D8_MIRROR_SOURCE_PASSWORD": "2", "D8_MIRROR_LICENSE_TOKEN": "3",
		"D8_MIRROR_REGISTRY_LOGIN": "registry", "D8_MIRROR_REGISTRY_PASSWORD": "4",
	}
	without := func(names ...string) map[string]string {
		env := maps.Clone(all)
		for _, name := range names {
			env[name] = "" // as good as not there
		}
		return env
	}
	const ours, source = "LAYOUTPROXY_USERNAME", "D8_MIRROR_SOURCE_LOGIN"
	for _, test := range []struct {
		args string
		d8   loginNames
		env  map[string]string
		want string // USERNAME:PASSWORD of WHERE, or what the error says
	}{
		{"--username x --password-stdin", d8SourceLogin(), all, "x: of --username"},
		{"--username x", d8SourceLogin(), all, "x:1 of --username"},
		{"--username x", d8SourceLogin(), without("LAYOUTPROXY_PASSWORD"), "x:2 of --username"},
		{"--username x", d8RegistryLogin(), without("LAYOUTPROXY_PASSWORD"), "x:4 of --username"},
		{"--username x", loginNames{}, without("LAYOUTPROXY_PASSWORD"), "--username without a password"},
		{"--license t", d8SourceLogin(), all, "license-token:t of --license"},
		{"-l t", d8SourceLogin(), nil, "license-token:t of --license"},
		{"", d8SourceLogin(), all, "ours:1 of LAYOUTPROXY_USERNAME"},
		{"", d8SourceLogin(), without("LAYOUTPROXY_PASSWORD"), "LAYOUTPROXY_USERNAME without a password"},
		{"", d8SourceLogin(), without(ours), "source:2 of D8_MIRROR_SOURCE_LOGIN"},
		{"", d8SourceLogin(), without(ours, "D8_MIRROR_SOURCE_PASSWORD"), "D8_MIRROR_SOURCE_LOGIN without a password"},
		{"", d8SourceLogin(), without(ours, source), "license-token:3 of D8_MIRROR_LICENSE_TOKEN"},
		{"", d8SourceLogin(), without(ours, source, "D8_MIRROR_LICENSE_TOKEN"), ": of "},
		{"", d8RegistryLogin(), without(ours), "registry:4 of D8_MIRROR_REGISTRY_LOGIN"},
		{"", d8RegistryLogin(), without(ours, "D8_MIRROR_REGISTRY_LOGIN"), ": of "},
		{"", loginNames{}, without(ours), ": of "},
	} {
		u := upstreamFlags{d8: test.d8}
		f := pflag.NewFlagSet("test", pflag.ContinueOnError)
		u.flags(f)
		u.licenseFlag(f)
		try(t, f.Parse(strings.Fields(test.args)))
		l, err := chooseLogin(&u, func(name string) string { return test.env[name] })
		got := fmt.Sprintf("%s:%s of %s", l.username, l.password, l.source)
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%q with %v: %s, want %s", test.args, test.env, got, test.want)
		}
	}
}

// What d8 mirror reads of the environment logs a pull and a push in, each by its own names,
// and nowhere else.
func TestLoginsOfD8(t *testing.T) {
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
			t.Fatalf("%q with %q: exit %d, want %d\n%s", args, env, got, want, out)
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

	// The user name of a license token, which no registry of the test knows.
	for name, set := range map[string]struct{ env, args []string }{
		"flag": {nil, []string{"--license", "a-token"}}, "environment": {[]string{"D8_MIRROR_LICENSE_TOKEN=a-token"}, nil},
	} {
		out := run(exit.Failed, set.env, append(pull, set.args...)...)
		if !strings.Contains(out, "license-token") || strings.Contains(out, "a-token") {
			t.Errorf("%s: %s", name, out)
		}
		if warned := strings.Contains(out, "on the command line"); warned != (name == "flag") {
			t.Errorf("%s: warned is %t: %s", name, warned, out)
		}
	}
}
