package pull

import (
	"archive/tar"
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
)

// What a layer hides is remembered only where it matters: there is no end to what a layer
// can hide in few bytes.
func TestHiddenFilesThatNobodyLooksFor(t *testing.T) {
	l := look{wanted: map[string]bool{"a/b/version.json": true, "other": true}, limit: maxUnpacked}
	gone := map[string]bool{}
	for i := range 10_000 {
		try(t, l.entry(nil, &tar.Header{Name: fmt.Sprintf("a/.wh.%d", i)}, gone))
		try(t, l.entry(nil, &tar.Header{Name: fmt.Sprintf("%d/.wh..wh..opq", i)}, gone))
	}
	for _, name := range []string{"a/.wh.b", "a/b/.wh..wh..opq", ".wh..wh..opq", "a/b/.wh.version.json"} {
		try(t, l.entry(nil, &tar.Header{Name: name}, gone))
	}
	if got := slices.Sorted(maps.Keys(gone)); !slices.Equal(got, []string{"./", "a/b", "a/b/", "a/b/version.json"}) {
		t.Errorf("%d are remembered: %.200q", len(got), got)
	}
}

// A layer that unpacks to more than any image has is not read to its end.
func TestLayersThatUnpackToTooMuch(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range []string{"large", "version.json"} {
		try(t, w.WriteHeader(&tar.Header{Name: name, Size: 10_000, Typeflag: tar.TypeReg}))
		_, err := w.Write(make([]byte, 10_000))
		try(t, err)
	}
	try(t, w.Close())
	for limit, want := range map[int64]string{5_000: "it unpacks to more than 5000 bytes", 15_000: "it unpacks to more than 15000 bytes", 30_000: ""} {
		l := look{wanted: map[string]bool{"version.json": true}, found: map[string][]byte{}, limit: limit}
		err := l.layer(bytes.NewReader(b.Bytes()))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d: %v, want %q", limit, err, want)
		}
	}
}

// Of indexes that lie in each other some are followed, and not any number.
func TestNestedIndexes(t *testing.T) {
	s := newSource(nil, nil, nil, nil)
	put := func(body string) closure.Descriptor {
		d := digest.FromString(body)
		try(t, s.keep(d, []byte(body)))
		return closure.Descriptor{MediaType: specs.MediaTypeImageIndex, Digest: d, Size: int64(len(body))}
	}
	c := put(`{"schemaVersion":2,"mediaType":"` + specs.MediaTypeImageManifest + `","config":{},"layers":[]}`)
	for i := range 2 * maxNested {
		_, err := s.firstImage(t.Context(), "app", c)
		if tooDeep := err != nil && strings.Contains(err.Error(), "index of indexes"); tooDeep != (i >= maxNested) || !tooDeep && err != nil {
			t.Errorf("%d indexes: %v", i, err)
		}
		c = put(fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`, specs.MediaTypeImageIndex, c.MediaType, c.Digest, c.Size))
	}
}
