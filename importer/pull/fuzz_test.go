package pull

import (
	"bytes"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Digests that are found are in the document, and are digests.
func FuzzDigests(f *testing.F) {
	hex := strings.Repeat("0a", 32)
	f.Add([]byte(`{"a":{"b":"sha256:` + hex + `"},"c":["sha256:` + hex + `", 1, null, "sha256:00"]}`))
	f.Add([]byte(`"sha256:`))
	f.Fuzz(func(t *testing.T, data []byte) {
		found, err := digestsIn(data)
		if err != nil && len(found) > 0 {
			t.Fatalf("%v, and %v", found, err)
		}
		for i, d := range found {
			if d.Validate() != nil || i > 0 && found[i-1] >= d {
				t.Fatalf("%q", found)
			}
		}
	})
}

// Whatever a changelog is, the document of its release is one, or none with a reason.
func FuzzRelease(f *testing.F) {
	f.Add([]byte(`{"requirements":{"k8s":"1.29"},"disruptions":{"1.69":["x"]}}`), []byte("a: {b: 2026-10-01}\n"))
	f.Add([]byte(`{"requirements":7}`), []byte("x"))
	f.Add([]byte("{}"), []byte("a: &a [*a]\n"))
	f.Add([]byte("{}"), []byte("? [a]\n: b\n"))
	f.Fuzz(func(t *testing.T, version, changelog []byte) {
		r, _ := parseRelease("v1.69.3")
		document, note := releaseDocument(r, version, changelog)
		if document == nil && note == "" {
			t.Fatal("no document and no reason")
		}
		if document == nil {
			return
		}
		var back releaseDoc
		if err := yaml.Unmarshal(document, &back); err != nil || back.Spec.Version != "v1.69.3" {
			t.Fatalf("%v: %s", err, document)
		}
		if again, _ := releaseDocument(r, version, changelog); !bytes.Equal(again, document) {
			t.Fatal("other bytes the second time")
		}
	})
}
