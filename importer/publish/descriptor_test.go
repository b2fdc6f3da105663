package publish_test

import (
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// IndexFields returns the same number of descriptors as package layoutstore. It refuses an index in
// which it would miss some.
func TestIndexFields(t *testing.T) {
	const d = `{"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":2}`
	for index, refused := range map[string]bool{
		`{"schemaVersion":2,"manifests":[` + d + `],"x":1}`:                        false,
		`{"schemaVersion":2}`:                                                      false,
		`{"schemaVersion":2,"manifests":null}`:                                     false,
		`{"schemaVersion":2,"manifests":[` + d + `],"manifests":[]}`:               false,
		`{"schemaVersion":2,"manifesTs":[` + d + `]}`:                              true,
		`{"schemaVersion":2,"manifests":[],"Manifests":[` + d + `]}`:               true,
		`{"schemaVersion":2,"manifests":[` + d + `,` + d + `],"manifeſts":[]}`:     true, // ſ equals s if case is ignored
		`{"schemaVersion":2,"manifests":[` + d + `],"\u004danifests":[` + d + `]}`: true,
	} {
		entries, err := layoutstore.ParseIndex([]byte(index), "a")
		if err != nil {
			t.Errorf("%s: %v", index, err)
		}
		fields, manifests, err := publish.IndexFields([]byte(index))
		switch {
		case refused && (err == nil || !strings.Contains(err.Error(), "some readers read")):
			t.Errorf("%s: %v", index, err)
		case !refused && (err != nil || len(manifests) != len(entries) || string(fields["schemaVersion"]) != "2"):
			t.Errorf("IndexFields(%s) = fields %q, manifests %q, error %v; want schemaVersion 2 and %d manifests", index, fields, manifests, err, len(entries))
		}
	}
	for _, malformed := range []string{"", "[]", `{"manifests":{}}`} {
		if _, _, err := publish.IndexFields([]byte(malformed)); err == nil {
			t.Errorf("IndexFields(%q) returned no error, want one: the index is malformed", malformed)
		}
	}
}
