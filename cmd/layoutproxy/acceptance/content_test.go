package acceptance

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// contents maps digests to blobs. The content of each blob matches its digest.
type contents map[digest.Digest][]byte

// contentOf reads manifests from a layout, with all of their children, configs and layers.
func contentOf(t *testing.T, l layout, manifests ...digest.Digest) contents {
	t.Helper()
	found := contents{}
	for _, d := range manifests {
		found[d] = blob(t, l, d)
		m := parse(t, found[d])
		for _, child := range m.Manifests {
			maps.Copy(found, contentOf(t, l, child.Digest))
		}
		for _, part := range m.parts() {
			found[part.Digest] = blob(t, l, part.Digest)
		}
	}
	return found
}

// compare fails the test unless got contains exactly the blobs of want.
func (want contents) compare(t *testing.T, what string, got contents) {
	t.Helper()
	for _, d := range slices.Sorted(maps.Keys(want)) {
		if data, ok := got[d]; !ok {
			t.Errorf("%s: blob %s is missing", what, d)
		} else if !bytes.Equal(data, want[d]) {
			t.Errorf("%s: blob %s: got %d bytes that differ from the %d wanted bytes", what, d, len(data), len(want[d]))
		}
	}
	if len(got) > len(want) {
		t.Errorf("%s: got %d blobs, want %d", what, len(got), len(want))
	}
}

// manifest is the manifest of an image, or an index.
type manifest struct {
	ArtifactType string               `json:"artifactType"`
	Config       *ocispec.Descriptor  `json:"config"`
	Layers       []ocispec.Descriptor `json:"layers"`
	Manifests    []ocispec.Descriptor `json:"manifests"`
	Subject      *ocispec.Descriptor  `json:"subject"`
}

func parse(t *testing.T, data []byte) (m manifest) {
	t.Helper()
	must(t, json.Unmarshal(data, &m))
	return m
}

// parts returns the manifest's config, if it has one, and its layers.
func (m manifest) parts() []ocispec.Descriptor {
	if m.Config == nil {
		return m.Layers
	}
	return append([]ocispec.Descriptor{*m.Config}, m.Layers...)
}

// blob reads a blob from a layout and verifies its digest.
func blob(t *testing.T, l layout, d digest.Digest) []byte {
	t.Helper()
	data := layouttest.ReadFile(t, l.blobPath(d))
	if got := d.Algorithm().FromBytes(data); got != d {
		t.Fatalf("%s: the content has the digest %s, want %s", l.blobPath(d), got, d)
	}
	return data
}

func indexOf(t *testing.T, l layout) (index ocispec.Index) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(string(l), ocispec.ImageIndexFile))
	if err == nil {
		err = json.Unmarshal(data, &index)
	}
	must(t, err)
	return index
}

// tagged returns the digest that a tag points at in a layout.
func tagged(t *testing.T, l layout, tag string) digest.Digest {
	t.Helper()
	for _, d := range indexOf(t, l).Manifests {
		if tagOf(d) == tag {
			return d.Digest
		}
	}
	t.Fatalf("the layout %s has no tag %q", l, tag)
	return ""
}
