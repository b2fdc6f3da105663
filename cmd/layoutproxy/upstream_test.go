package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/importer/push"
	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// upstreamOf parses the flags of a registry.
func upstreamOf(t *testing.T, args ...string) *upstreamFlags {
	t.Helper()
	var u upstreamFlags
	f := pflag.NewFlagSet("test", pflag.ContinueOnError)
	u.flags(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	return &u
}

func TestUpstreamCredentials(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	r := registrytest.New(t, registrytest.Options{Basic: true})
	for name, test := range map[string]struct {
		args  []string
		env   map[string]string
		stdin string
		right bool
	}{
		"flags":            {[]string{"--username", registrytest.Username, "--password-stdin"}, nil, registrytest.Password + "\n", true},
		"environment":      {nil, map[string]string{"LAYOUTPROXY_USERNAME": registrytest.Username, "LAYOUTPROXY_PASSWORD": registrytest.Password}, "", true},
		"flag over it":     {[]string{"--username", registrytest.Username}, map[string]string{"LAYOUTPROXY_USERNAME": "x", "LAYOUTPROXY_PASSWORD": registrytest.Password}, "", true},
		"nobody":           {nil, nil, "", false},
		"a wrong password": {[]string{"--username", registrytest.Username, "--password-stdin"}, nil, "wrong", false},
	} {
		t.Run(name, func(t *testing.T) {
			for key, value := range test.env {
				t.Setenv(key, value)
			}
			u := upstreamOf(t, test.args...)
			c, err := u.open(client.Reference{Registry: r.Host}, false, strings.NewReader(test.stdin), zap.NewNop())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, err = c.Catalog(t.Context())
			if test.right && err != nil || !test.right && !errors.Is(err, client.ErrUnauthorized) {
				t.Errorf("%v", err)
			}
			if err != nil && exit.Hint(exit.RegistryError(err)) == "" {
				t.Errorf("%v has no hint", err)
			}
		})
	}
}

func TestUpstreamUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--jobs", "0"}, {"--retries", "-1"}, {"--client-cert", "x"}, {"--password-stdin"}, {"--username", "x"},
		{"--username", "x", "--password-stdin"}, {"--plain-http", "--ca-file", "x"},
	} {
		_, err := upstreamOf(t, args...).open(client.Reference{Registry: "localhost:1"}, false, strings.NewReader(""), zap.NewNop())
		if exit.Status(err) != exit.Usage {
			t.Errorf("%q: %v, want wrong usage", args, err)
		}
	}
	if _, err := upstreamOf(t, "--ca-file", "/nowhere").open(client.Reference{Registry: "localhost:1"}, false, nil, zap.NewNop()); err == nil || exit.Status(err) != exit.Failed {
		t.Errorf("%v, want a failure", err)
	}
	for _, arg := range []string{"deckhouse/ee", "http://localhost:5000/x", "localhost:5000/X"} {
		_, err := parseUpstream(arg)
		if exit.Status(err) != exit.Usage || exit.Hint(err) == "" {
			t.Errorf("%s: %v, want wrong usage and a hint", arg, err)
		}
	}
}

// What a registry answers is named with what to do, in whichever command: also in the one
// line that a status has.
func TestCausesReachEveryCommand(t *testing.T) {
	quota := &client.Error{Op: "put blob", Host: "harbor.example", Repository: "deckhouse/ee", Status: 403, Side: client.SideRegistry, Cause: client.ErrDenied,
		Codes: []client.Code{{Code: "DENIED", Message: "adding 1 MiB of storage resource, which when updated to current usage of 9 MiB will exceed the configured upper limit of 9 MiB."}}}
	wrong := &client.Error{Op: "token", Host: "auth.example", Repository: "deckhouse/ee", Status: 401, Side: client.SideToken, Cause: client.ErrUnauthorized}
	nobody := &client.Error{Op: "get manifest", Host: "registry.example", Repository: "deckhouse/ee", Status: 401, Anonymous: true, Side: client.SideRegistry, Cause: client.ErrUnauthorized}
	for _, test := range []struct {
		err           error
		cause, remedy string
	}{
		{quota, "a quota of deckhouse is used up", "raise it"},
		{wrong, "the token server auth.example refuses the login", "check the name and the password"},
		{nobody, "nobody is logged in to registry.example", "docker login"},
		{&push.GapError{Gaps: []push.Difference{{Kind: push.Missing, Repository: "a", Reference: "v1"}}}, "whatever it answered before", "--check-blobs"},
		{&push.GapError{Gaps: []push.Difference{{Kind: push.WrongSize, Repository: "a", Reference: "sha256:1"}}}, "wrong-size: a sha256:1", "delete sha256:1 of a there"},
	} {
		for name, sorted := range map[string]error{"push": exit.PushError(test.err), "pull": pullError(t.Context(), test.err)} {
			var gap *push.GapError
			if name == "pull" && errors.As(test.err, &gap) {
				continue
			}
			if hint := exit.Hint(sorted); !strings.Contains(sorted.Error(), test.cause) || !strings.Contains(hint, test.remedy) {
				t.Errorf("%s: %v, %q", name, sorted, hint)
			}
			if line := reason(sorted); !strings.Contains(line, test.cause) || !strings.Contains(line, test.remedy) {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
}
