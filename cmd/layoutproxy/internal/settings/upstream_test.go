package settings

import (
	"errors"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// upstreamOf returns the configuration for a command line.
func upstreamOf(t *testing.T, args ...string) *Upstream {
	t.Helper()
	var u Upstream
	f := pflag.NewFlagSet("test", pflag.ContinueOnError)
	u.AddFlags(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	return &u
}

func TestLoginToRegistry(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	r := registrytest.New(t, registrytest.Options{Basic: true})
	for name, test := range map[string]struct {
		args  []string
		env   map[string]string
		stdin string
		right bool
	}{
		"flags":                      {[]string{"--username", registrytest.Username, "--password-stdin"}, nil, registrytest.Password + "\n", true},
		"environment":                {nil, map[string]string{"LAYOUTPROXY_USERNAME": registrytest.Username, "LAYOUTPROXY_PASSWORD": registrytest.Password}, "", true},
		"flag overrides environment": {[]string{"--username", registrytest.Username}, map[string]string{"LAYOUTPROXY_USERNAME": "x", "LAYOUTPROXY_PASSWORD": registrytest.Password}, "", true},
		"no login":                   {nil, nil, "", false},
		"wrong password":             {[]string{"--username", registrytest.Username, "--password-stdin"}, nil, "wrong", false},
	} {
		t.Run(name, func(t *testing.T) {
			for key, value := range test.env {
				t.Setenv(key, value)
			}
			u := upstreamOf(t, test.args...)
			c, err := u.Open(client.Reference{Registry: r.Host}, false, strings.NewReader(test.stdin), zap.NewNop())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, err = c.Catalog(t.Context())
			if test.right && err != nil || !test.right && !errors.Is(err, client.ErrUnauthorized) {
				t.Errorf("login: got the error %v, want success: %t", err, test.right)
			}
			if err != nil && exit.Hint(exit.RegistryError(err)) == "" {
				t.Errorf("the error %v has no hint, want one", err)
			}
		})
	}
}

func TestWrongUpstreamFlagsAreUsageErrors(t *testing.T) {
	for _, args := range [][]string{
		{"--jobs", "0"}, {"--retries", "-1"}, {"--client-cert", "x"}, {"--password-stdin"}, {"--username", "x"},
		{"--username", "x", "--password-stdin"}, {"--plain-http", "--ca-file", "x"},
	} {
		_, err := upstreamOf(t, args...).Open(client.Reference{Registry: "localhost:1"}, false, strings.NewReader(""), zap.NewNop())
		if exit.Status(err) != exit.Usage {
			t.Errorf("flags %q: got the error %v, want a usage error", args, err)
		}
	}
	if _, err := upstreamOf(t, "--ca-file", "/nowhere").Open(client.Reference{Registry: "localhost:1"}, false, nil, zap.NewNop()); err == nil || exit.Status(err) != exit.Failed {
		t.Errorf("missing --ca-file: got the error %v, want one with exit status 1", err)
	}
	for _, arg := range []string{"deckhouse/ee", "http://localhost:5000/x", "localhost:5000/X"} {
		_, err := ParseUpstream(arg)
		if exit.Status(err) != exit.Usage || exit.Hint(err) == "" {
			t.Errorf("%s: got the error %v, want a usage error with a hint", arg, err)
		}
	}
}
