package layoutstore

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

func TestTagOf(t *testing.T) {
	hex := strings.Repeat("0a", 32)
	for _, c := range []struct{ short, ref, want string }{
		{"v1", "host.example/a:v2", "v1"},
		{"", "host.example/a:v2", "v2"},
		{"", "host.example/a:v2@sha256:" + hex, "v2"},
		{"", "host.example/a@sha256:" + hex, ""},
		{hex, "host.example/a@sha256:" + hex, hex},
		{"", "v2", "v2"},
		{"", "host.example:5000/a", ""},
		{"", "a/b", ""},
		{"", "", ""},
		{"not a tag", "host.example/a:v2", "not a tag"}, // an illegal short tag is returned, not the tag in the reference
		// A digest as short tag means no tag (deckhouse-cli, docs/mirror-bundle-layout.md of
		// 2026-10-01, section 8.7).
		{"sha256:" + hex, "host.example/a:v2", ""},
		{"@sha256:" + hex, "host.example/a@sha256:" + hex, ""},
		{"@@sha256:" + hex, "", "@@sha256:" + hex},
		{"sha256:" + hex[1:], "", "sha256:" + hex[1:]},
		{"sha256:" + strings.ToUpper(hex), "", "sha256:" + strings.ToUpper(hex)},
		// If a source has a port, d8 writes references of aliases as HOST:TAG.
		{"alpha", "localhost:alpha", "alpha"},
		{"alpha", "registry.example:5000:alpha", "alpha"},
	} {
		got := tagOf(annotationsDoc{ShortTag: c.short, RefName: c.ref})
		if got != c.want {
			t.Errorf("tagOf(short tag %q, reference %q) = %q, want %q", c.short, c.ref, got, c.want)
		}
	}
}

func TestParseIndex(t *testing.T) {
	d := digest.FromString("x")
	for name, c := range map[string]struct {
		json     string
		tags     []string
		problems int
		bad      bool
	}{
		"null manifests":     {json: `{"schemaVersion":2,"manifests":null}`},
		"no manifests":       {json: `{"schemaVersion":2,"manifests":[]}`},
		"d8's media type":    {json: `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.layout.v1+json","manifests":[]}`},
		"no schema version":  {json: `{"manifests":[{"digest":"` + string(d) + `"}]}`, tags: []string{""}},
		"an illegal tag":     {json: `{"schemaVersion":2,"manifests":[{"digest":"` + string(d) + `","annotations":{"io.deckhouse.image.short_tag":"a b"}}]}`, tags: []string{""}, problems: 1},
		"an illegal digest":  {json: `{"schemaVersion":2,"manifests":[{"digest":"sha256:../../x"}]}`, problems: 1},
		"an md5 digest":      {json: `{"schemaVersion":2,"manifests":[{"digest":"md5:d41d8cd98f00b204e9800998ecf8427e"}]}`, problems: 1},
		"a null descriptor":  {json: `{"schemaVersion":2,"manifests":[null]}`, problems: 1},
		"cut short":          {json: `{"schemaVersion":2,"manifests":[`, bad: true},
		"nothing":            {json: ``, bad: true},
		"another document":   {json: `{"version":"v1.69.3"}`, bad: true},
		"an array":           {json: `[]`, bad: true},
		"trailing garbage":   {json: `{"schemaVersion":2,"manifests":[]}x`, bad: true},
		"deeply nested":      {json: strings.Repeat(`{"manifests":[`, 100_000), bad: true},
		"manifests is a map": {json: `{"schemaVersion":2,"manifests":{}}`, bad: true},
		"a fractional size":  {json: `{"schemaVersion":2,"manifests":[{"size":1.5}]}`, bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			ix, err := parseIndex([]byte(c.json), ".")
			if (err != nil) != c.bad {
				t.Fatalf("parseIndex: got error %v; want an error: %v", err, c.bad)
			}
			if c.bad {
				return
			}
			var tags []string
			for _, e := range ix.entries {
				tags = append(tags, e.tag)
			}
			if diff := cmp.Diff(c.tags, tags); diff != "" || len(ix.problems) != c.problems {
				t.Errorf("tags (-want +got): %s; problems: got %v, want %d", diff, ix.problems, c.problems)
			}
		})
	}
}

func TestIndexListsAtMost1000Problems(t *testing.T) {
	doc := indexJSON{SchemaVersion: 2, Manifests: make([]indexDescriptorDoc, 5000)}
	data, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	ix, err := parseIndex(data, ".")
	if err != nil {
		t.Fatal(err)
	}
	if len(ix.problems) != maxProblems+1 || !strings.Contains(ix.problems[maxProblems].Reason, "more than") {
		t.Errorf("got %d problems, of which the last is %v; want 1001, of which the last says that there are more", len(ix.problems), ix.problems[len(ix.problems)-1])
	}
}

// FuzzParseIndex checks that a parsed index has only valid digests, tags and roots.
func FuzzParseIndex(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[]}`), "modules/x")
	f.Add(fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[{"mediaType":"m","digest":%q,"size":3,"annotations":{"org.opencontainers.image.ref.name":"h.example/r/modules/x:v1"}}]}`, digest.FromString("x")), "modules/x")
	f.Add(fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[{"digest":%q,"annotations":{"org.opencontainers.image.ref.name":"h.example/app:v1"}},{"digest":%[1]q,"annotations":{"org.opencontainers.image.ref.name":"h.example/db:v1"}}]}`, digest.FromString("x")), "app")
	f.Fuzz(func(t *testing.T, data []byte, path string) {
		ix, err := parseIndex(data, path)
		if err != nil {
			return
		}
		for _, e := range ix.entries {
			if e.digest().Validate() != nil || e.tag != "" && !names.IsTag(e.tag) {
				t.Errorf("got the entry %+v, want only valid digests and legal tags", e)
			}
			if path != "." && len(ix.named) > 1 && e.tag != "" && e.common.repository != "" && !mayBelong(e.common.repository, path) {
				t.Errorf("got the entry %+v of a different repository with a tag, want no tag in the layout of %s", e, path)
			}
		}
		for _, votes := range []map[string]int{ix.ballot.votes, ix.ballot.weak} {
			for root := range votes {
				if !names.IsRepository(root) {
					t.Errorf("got a vote for the illegal root %q, want none", root)
				}
			}
		}
	})
}

func TestRootFromReference(t *testing.T) {
	for _, c := range []struct{ ref, path, want string }{
		{"registry.deckhouse.io/deckhouse/ee/install:v1", "install", "deckhouse/ee"},
		{"registry.deckhouse.io/deckhouse/ee:v1", ".", "deckhouse/ee"},
		{"registry.deckhouse.io/deckhouse/ee/modules/x@sha256:00", "modules/x", "deckhouse/ee"},
		{"registry.deckhouse.io/deckhouse/ee/xinstall:v1", "install", ""},
		{"registry.deckhouse.io/install:v1", "install", ""},
		{"registry.deckhouse.io/Deckhouse/install:v1", "install", ""},
		{"v1", ".", ""},
	} {
		if got, ok := vote(c.ref, c.path); got != c.want && ok || ok != (c.want != "") {
			t.Errorf("vote(%s, %s) = %q, %v; want %q", c.ref, c.path, got, ok, c.want)
		}
	}
}

func TestElectRoot(t *testing.T) {
	for name, c := range map[string]struct {
		votes []map[string]int
		weak  map[string]int
		want  string
	}{
		"no votes":                {nil, nil, ""},
		"most votes":              {[]map[string]int{{"a/b": 2}, {"c": 1}, {"c": 2}}, nil, "c"},
		"tie: longest root":       {[]map[string]int{{"a": 1, "bb": 1}}, nil, "bb"},
		"tie: first root":         {[]map[string]int{{"b": 1, "a": 1}}, nil, "a"},
		"vote against weak votes": {[]map[string]int{{"a/b": 1}}, map[string]int{"a": 100, "long/er": 2}, "a/b"},
		"weak votes alone":        {nil, map[string]int{"a": 2, "long/er": 1}, "a"},
	} {
		parts := []*indexedLayout{{index: &index{ballot: ballot{weak: c.weak}}}}
		for _, v := range c.votes {
			parts = append(parts, &indexedLayout{index: &index{ballot: ballot{votes: v}}})
		}
		for range 20 { // repeat, because the order of maps is random
			if got := electRoot(parts); got != c.want {
				t.Fatalf("%s: got root %q, want %q", name, got, c.want)
			}
		}
	}
}
