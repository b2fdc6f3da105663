package layoutstore

import (
	"regexp"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/google/go-cmp/cmp"
)

// The grammars of the distribution specification 1.1, word for word.
var (
	nameGrammar = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagGrammar  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

func FuzzNames(f *testing.F) {
	for _, s := range []string{"", "a", "deckhouse/ee", "a__b", "a___b", "a---b", "a..b", "a/", "/a", "a//b", "A", "a.", "-a",
		"a._b", "é", "a\n", strings.Repeat("a/", 127) + "a", strings.Repeat("a/", 127) + "aa", strings.Repeat("t", 128), strings.Repeat("t", 129), "v1.2", ".v", "_v"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := ValidName(s), len(s) <= 255 && nameGrammar.MatchString(s); got != want {
			t.Errorf("ValidName(%q) = %v", s, got)
		}
		if got, want := ValidTag(s), tagGrammar.MatchString(s); got != want {
			t.Errorf("ValidTag(%q) = %v", s, got)
		}
		// The URLs of the registry are built with this package's names.
		if _, err := reference.WithName(s); ValidName(s) && err != nil {
			t.Errorf("%q is a name here and none for links: %v", s, err)
		}
	})
}

func TestParseReference(t *testing.T) {
	for s, want := range map[string]Reference{
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
		if diff := cmp.Diff(want, ParseReference(s)); diff != "" {
			t.Errorf("%q: %s", s, diff)
		}
	}
}

// FuzzParseReference: a reference made of legal parts comes apart into them.
func FuzzParseReference(f *testing.F) {
	f.Add("registry.deckhouse.io", "deckhouse/ee/install", "v1.69.3", "sha256:abc")
	f.Add("localhost:5000", "a", "", "")
	f.Add("", "a/b", "T", "")
	host := regexp.MustCompile(`^([a-z0-9]+\.[a-z0-9.]+|localhost)(:[0-9]+)?$`)
	f.Fuzz(func(t *testing.T, h, path, tag, dg string) {
		first, _, deep := strings.Cut(path, "/")
		if h != "" && !host.MatchString(h) || !ValidName(path) || tag != "" && !ValidTag(tag) || strings.ContainsAny(dg, "@/") {
			return
		}
		if h == "" && deep && (strings.Contains(first, ".") || first == "localhost") {
			return // the first segment of the path would be taken for a host, as it should
		}
		want := Reference{h, path, tag, dg}
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
		if diff := cmp.Diff(want, ParseReference(s)); diff != "" {
			t.Errorf("%q: %s", s, diff)
		}
	})
}
