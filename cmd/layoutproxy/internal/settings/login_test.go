package settings

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// The variables are those of deckhouse-cli (internal/mirror/cmd/pull/flags/flags.go,
// internal/mirror/cmd/push/flags.go). In deckhouse-cli, too, a login takes precedence over a
// license token (getAuthProvider in internal/mirror/cmd/pull).
func TestWhichLoginIsChosen(t *testing.T) {
	all := map[string]string{
		"LAYOUTPROXY_USERNAME": "ours", "LAYOUTPROXY_PASSWORD": "1",
		"D8_MIRROR_SOURCE_LOGIN": "source", "D8_MIRROR_SOURCE_PASSWORD": "2", "D8_MIRROR_LICENSE_TOKEN": "3",
		"D8_MIRROR_REGISTRY_LOGIN": "registry", "D8_MIRROR_REGISTRY_PASSWORD": "4",
	}
	without := func(names ...string) map[string]string {
		env := maps.Clone(all)
		for _, name := range names {
			env[name] = "" // An empty variable counts as missing.
		}
		return env
	}
	const ours, source = "LAYOUTPROXY_USERNAME", "D8_MIRROR_SOURCE_LOGIN"
	for _, test := range []struct {
		args string
		d8   loginNames
		env  map[string]string
		want string // USERNAME:PASSWORD of SOURCE, or the text of the error
	}{
		{"--username x --password-stdin", D8SourceLogin(), all, "x: of --username"},
		{"--username x", D8SourceLogin(), all, "x:1 of --username"},
		{"--username x", D8SourceLogin(), without("LAYOUTPROXY_PASSWORD"), "x:2 of --username"},
		{"--username x", D8RegistryLogin(), without("LAYOUTPROXY_PASSWORD"), "x:4 of --username"},
		{"--username x", loginNames{}, without("LAYOUTPROXY_PASSWORD"), "--username without a password"},
		{"--license t", D8SourceLogin(), all, "license-token:t of --license"},
		{"-l t", D8SourceLogin(), nil, "license-token:t of --license"},
		{"", D8SourceLogin(), all, "ours:1 of LAYOUTPROXY_USERNAME"},
		{"", D8SourceLogin(), without("LAYOUTPROXY_PASSWORD"), "LAYOUTPROXY_USERNAME without a password"},
		{"", D8SourceLogin(), without(ours), "source:2 of D8_MIRROR_SOURCE_LOGIN"},
		{"", D8SourceLogin(), without(ours, "D8_MIRROR_SOURCE_PASSWORD"), "D8_MIRROR_SOURCE_LOGIN without a password"},
		{"", D8SourceLogin(), without(ours, source), "license-token:3 of D8_MIRROR_LICENSE_TOKEN"},
		{"", D8SourceLogin(), without(ours, source, "D8_MIRROR_LICENSE_TOKEN"), ": of "},
		{"", D8RegistryLogin(), without(ours), "registry:4 of D8_MIRROR_REGISTRY_LOGIN"},
		{"", D8RegistryLogin(), without(ours, "D8_MIRROR_REGISTRY_LOGIN"), ": of "},
		{"", loginNames{}, without(ours), ": of "},
	} {
		u := Upstream{D8: test.d8}
		f := pflag.NewFlagSet("test", pflag.ContinueOnError)
		u.AddFlags(f)
		u.AddLicenseFlag(f)
		if err := f.Parse(strings.Fields(test.args)); err != nil {
			t.Fatal(err)
		}
		l, err := chooseLogin(&u, func(name string) string { return test.env[name] })
		got := fmt.Sprintf("%s:%s of %s", l.username, l.password, l.source)
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("login for the flags %q and the variables %v is %q, want %q", test.args, test.env, got, test.want)
		}
	}
}
