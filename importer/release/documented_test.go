package release

import (
	"strings"
	"testing"
)

// Document keeps dates as text. It lists only the disruptions of the release's own minor version.
func TestDocument(t *testing.T) {
	r, _ := Parse("v1.69.3")
	version := []byte(`{"requirements":{"k8s":"1.29"},"disruptions":{"1.69":["x"],"1.70":["y"]}}`)
	const head = "---\napiVersion: deckhouse.io/v1alpha1\nkind: DeckhouseRelease\nmetadata:\n  name: v1.69.3\nspec:\n  version: v1.69.3\n" +
		"  requirements:\n    k8s: \"1.29\"\n  disruptions:\n    - x\n"
	const link = "  changelogLink: https://github.com/deckhouse/deckhouse/releases/tag/v1.69.3\n"
	for name, c := range map[string]struct{ changelog, want, note string }{
		"dates":        {"a: {b: 2026-10-01}\nc: [2026-10-02]\n", head + "  changelog:\n    a:\n      b: \"2026-10-01\"\n    c:\n      - \"2026-10-02\"\n" + link, ""},
		"numbers":      {"a: 7\n", head + "  changelog:\n    a: 7\n" + link, ""},
		"nothing":      {"", head + link, ""},
		"a list":       {"- a\n", head + link, "no changelog: changelog.yaml: "},
		"a number":     {"7\n", head + link, "no changelog: changelog.yaml: "},
		"invalid YAML": {"a: [\n", head + link, "no changelog: changelog.yaml: "},
	} {
		doc, note := Document(r, version, []byte(c.changelog))
		if string(doc) != c.want || !strings.HasPrefix(note, c.note) || (note == "") != (c.note == "") || strings.Contains(note, "\n") {
			t.Errorf("%s: Document returned the note %q, want %q at the start; got the document\n%s\nwant\n%s", name, note, c.note, doc, c.want)
		}
	}
	for name, c := range map[string]struct {
		version []byte
		note    string
	}{
		"no version file":    {nil, "skipped: its image has no version.json"},
		"not JSON":           {[]byte("{"), "skipped: version.json: "},
		"malformed contents": {[]byte(`{"requirements":7}`), "skipped: version.json: "},
	} {
		if doc, note := Document(r, c.version, nil); doc != nil || !strings.HasPrefix(note, c.note) {
			t.Errorf("%s: Document returned the note %q, want %q at the start and no document; got\n%s", name, note, c.note, doc)
		}
	}
}

// OfCluster returns the requirements in alphabetical order.
func TestOfClusterSortsRequirements(t *testing.T) {
	r := Requirements{"k8s": "1.29", "a": "", "c": "3", "b": "2", "istio": "1.21", migratedModules: "x"}
	if got := strings.Join(r.OfCluster(), ", "); got != "a, b 2, c 3, istio 1.21, k8s 1.29" {
		t.Errorf("%s", got)
	}
}
