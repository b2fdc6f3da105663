package release

import (
	"bytes"
	"testing"

	"go.yaml.in/yaml/v3"
)

// For any files, Document returns a valid YAML document, or a note with the reason why there is
// none. A second call returns the same document.
func FuzzRelease(f *testing.F) {
	f.Add([]byte(`{"requirements":{"k8s":"1.29"},"disruptions":{"1.69":["x"]}}`), []byte("a: {b: 2026-10-01}\n"))
	f.Add([]byte(`{"requirements":7}`), []byte("x"))
	f.Add([]byte("{}"), []byte("a: &a [*a]\n"))
	f.Add([]byte("{}"), []byte("? [a]\n: b\n"))
	f.Fuzz(func(t *testing.T, version, changelog []byte) {
		r, _ := Parse("v1.69.3")
		doc, note := Document(r, version, changelog)
		if doc == nil && note == "" {
			t.Fatal("Document returned neither a document nor a note, want one of them")
		}
		if doc == nil {
			return
		}
		var back document
		if err := yaml.Unmarshal(doc, &back); err != nil || back.Spec.Version != "v1.69.3" {
			t.Fatalf("%v: %s", err, doc)
		}
		if again, _ := Document(r, version, changelog); !bytes.Equal(again, doc) {
			t.Fatal("a second call of Document returned different bytes, want the same")
		}
	})
}
