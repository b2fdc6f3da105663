package names_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

func TestParseReferenceParts(t *testing.T) {
	for s, want := range map[string]names.Reference{
		"registry.deckhouse.io/deckhouse/ee/install:v1.69.3": {"registry.deckhouse.io", "deckhouse/ee/install", "v1.69.3", ""},
		"registry.deckhouse.io/deckhouse/ee@sha256:abc":      {"registry.deckhouse.io", "deckhouse/ee", "", "sha256:abc"},
		"host.example/name:t@sha256:abc":                     {"host.example", "name", "t", "sha256:abc"},
		"localhost/a":                                        {"localhost", "a", "", ""},
		"host:5000/a/b":                                      {"host:5000", "a/b", "", ""},
		"library/ubuntu:22.04":                               {"", "library/ubuntu", "22.04", ""},
		"ubuntu:22.04":                                       {"", "ubuntu", "22.04", ""},
		"ubuntu":                                             {"", "ubuntu", "", ""},
		"":                                                   {},
	} {
		if diff := cmp.Diff(want, names.ParseReference(s)); diff != "" {
			t.Errorf("%q: %s", s, diff)
		}
	}
}

// A reference that was built from valid parts must be split into the same parts.
func FuzzParseReference(f *testing.F) {
	f.Add("registry.deckhouse.io", "deckhouse/ee/install", "v1.69.3", "sha256:abc")
	f.Add("localhost:5000", "a", "", "")
	f.Add("", "a/b", "T", "")
	host := regexp.MustCompile(`^([a-z0-9]+\.[a-z0-9.]+|localhost)(:[0-9]+)?$`)
	f.Fuzz(func(t *testing.T, h, path, tag, dg string) {
		first, _, deep := strings.Cut(path, "/")
		if h != "" && !host.MatchString(h) || !names.IsRepository(path) || tag != "" && !names.IsTag(tag) || strings.ContainsAny(dg, "@/") {
			return
		}
		if h == "" && deep && (strings.Contains(first, ".") || first == "localhost") {
			return // skip, because the first segment of the path would count as a host
		}
		want := names.Reference{h, path, tag, dg}
		s := path
		if h != "" {
			s = h + "/" + s
		}
		if tag != "" {
			s += ":" + tag
		}
		if dg != "" {
			s += "@" + dg
		}
		if diff := cmp.Diff(want, names.ParseReference(s)); diff != "" {
			t.Errorf("%q: %s", s, diff)
		}
	})
}
