package closure_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
)

func parse(t *testing.T, body string) closure.Refs {
	t.Helper()
	r, err := closure.Parse([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// If a manifest states its media type, a descriptor with any other type contradicts it. If it
// states none, only a descriptor with the type of a different kind of manifest contradicts it.
func TestContradictions(t *testing.T) {
	config := `"config":` + fieldsOf()["config"]
	typed := parse(t, `{"mediaType":"`+specs.MediaTypeImageManifest+`",`+config+`}`)
	bare := parse(t, `{`+config+`}`)
	for _, c := range []struct {
		r         closure.Refs
		mediaType string
		want      error
	}{
		{typed, "", nil},
		{typed, specs.MediaTypeImageManifest, nil},
		{typed, "text/plain", closure.ErrContradiction},
		{typed, closure.DockerManifest, closure.ErrContradiction},
		{bare, "", nil},
		{bare, "text/plain", nil},
		{bare, closure.DockerManifest, nil},
		{bare, specs.MediaTypeImageIndex, closure.ErrContradiction},
	} {
		if err := c.r.Contradicts(c.mediaType); !errors.Is(err, c.want) {
			t.Errorf("Contradicts(%q) with Typed = %v: got the error %v, want %v", c.mediaType, c.r.Typed, err, c.want)
		}
	}
}

// If no descriptor calls the content a manifest, the descriptors in the content are not followed.
// They are followed, however, if the content itself states the media type of a manifest.
func TestLeadsOnFollowsOnlyManifests(t *testing.T) {
	config := `"config":` + fieldsOf()["config"]
	typed := parse(t, `{"mediaType":"`+specs.MediaTypeImageManifest+`",`+config+`}`)
	bare := parse(t, `{`+config+`}`)
	other := parse(t, `{"mediaType":"text/plain"}`)
	for _, c := range []struct {
		r     closure.Refs
		types []string
		want  bool
	}{
		{bare, nil, true},
		{other, nil, true},
		{bare, []string{"text/plain"}, false},
		{bare, []string{"text/plain", closure.DockerManifest}, true},
		{typed, []string{"text/plain"}, true},
		{other, []string{"text/plain"}, false},
	} {
		if got := c.r.LeadsOn(c.types); got != c.want {
			t.Errorf("LeadsOn(%q) with Typed = %v: got %v, want %v", c.types, c.r.Typed, got, c.want)
		}
	}
	if r, _, _, err := closure.ParseAs([]byte(`{`+config+`}`), "text/plain"); err != nil || len(r.Blobs) > 0 {
		t.Errorf("ParseAs(manifest, text/plain): got the blobs %v and the error %v, want neither", r.Blobs, err)
	}
	if _, got, _, err := closure.ParseAs([]byte(`{"mediaType":"application/x"}`), "text/plain"); err != nil || got != "text/plain" {
		t.Errorf("ParseAs(document that states another type, text/plain): got the media type %q and the error %v, want text/plain and none", got, err)
	}
	if _, _, _, err := closure.ParseAs([]byte(`[]`), specs.MediaTypeImageManifest); err == nil || !strings.Contains(err.Error(), "not a manifest") || errors.Is(err, closure.ErrContradiction) {
		t.Errorf("ParseAs([]): got the error %v, want one that contains \"not a manifest\" and is not ErrContradiction", err)
	}
	if r := parse(t, `{"manifests":null}`); r.MediaType != specs.MediaTypeImageIndex {
		t.Errorf("index without manifests: got the media type %q, want %q", r.MediaType, specs.MediaTypeImageIndex)
	}
}

// A field name is ambiguous if it equals the name of a known field only when case is ignored. In
// this sense, "ſ" equals "s".
func TestFieldsFoldedByCase(t *testing.T) {
	for key, value := range map[string]string{"layerſ": "[]", "artifactſ": "[]", "ſubject": "{}", "bloBs": "[]"} {
		_, err := closure.Parse([]byte(`{"` + key + `":` + value + `}`))
		if want := key != "artifactſ"; errors.Is(err, closure.ErrAmbiguous) != want {
			t.Errorf("Parse of the field %s: got the error %v, want ErrAmbiguous for all fields but artifactſ", key, err)
		}
	}
}

// TagsTo lists each tag once and sorted, even if several paths lead from the tag to the manifest or blob.
func TestTagsListedOnceOverTwoPaths(t *testing.T) {
	c := content{}
	shared := blob("shared")
	image := c.add(t, specs.Manifest{Config: blob("config"), Layers: []specs.Descriptor{shared}})
	left := c.add(t, specs.Index{Manifests: []specs.Descriptor{image}, ArtifactType: "left"})
	right := c.add(t, specs.Index{Manifests: []specs.Descriptor{image}, ArtifactType: "right"})
	outer := c.add(t, specs.Index{Manifests: []specs.Descriptor{left, right}})
	second := c.add(t, specs.Manifest{Config: blob("other"), Layers: []specs.Descriptor{shared}})
	g := walk(t, c, top(outer, "z", "b"), top(second, "y", "a"), top(right, "c"))
	_, m := find(t, g, image.Digest)
	if got := m.TagsTo(); !slices.Equal(got, []string{"b", "c", "z"}) {
		t.Errorf("the tags of the image are %q, want b, c, z", got)
	}
	if got := m.Tops(); len(got) != 2 {
		t.Errorf("Tops of the image: got %d manifests, want 2", len(got))
	}
	for i, b := range g.Blobs {
		if i > 0 && g.Blobs[i-1].Digest >= b.Digest {
			t.Errorf("the blob %s is out of order, want the blobs sorted by digest", b.Digest)
		}
		if got := b.TagsTo(); b.Digest == shared.Digest && !slices.Equal(got, []string{"a", "b", "c", "y", "z"}) {
			t.Errorf("the tags of the shared blob are %q, want a, b, c, y, z", got)
		}
	}
}

// If any descriptor requires a blob, the blob is required, even if other descriptors make it optional.
func TestBlobRequiredByOneDescriptor(t *testing.T) {
	layer := blob("layer")
	foreign := layer
	foreign.MediaType = "application/vnd.docker.image.rootfs.foreign.diff.tar"
	for _, layers := range [][]specs.Descriptor{{layer, foreign}, {foreign, layer}, {foreign, foreign}} {
		c := content{}
		image := c.add(t, specs.Manifest{Config: blob("config"), Layers: layers})
		for _, b := range walk(t, c, top(image, "t")).Blobs {
			want := b.Digest == layer.Digest && layers[0].MediaType == layers[1].MediaType
			if b.Optional != want {
				t.Errorf("layers of types %q and %q: blob %s has Optional = %v, want %v", layers[0].MediaType, layers[1].MediaType, b.Digest, b.Optional, want)
			}
		}
	}
}

// Below yields everything that a manifest leads to, each digest once. It yields nothing below an
// unavailable manifest.
func TestBelowYieldsEachDigestOnce(t *testing.T) {
	c := content{}
	shared := blob("shared")
	image := c.add(t, specs.Manifest{Config: blob("config"), Layers: []specs.Descriptor{shared}})
	other := c.add(t, specs.Manifest{Config: blob("other"), Layers: []specs.Descriptor{shared}})
	lost := specs.Descriptor{MediaType: specs.MediaTypeImageManifest, Digest: digest.FromString("lost"), Size: 4}
	liar := c.add(t, specs.Manifest{Config: blob("below an unavailable manifest")})
	liar.Size++
	index := c.add(t, specs.Index{Manifests: []specs.Descriptor{image, lost, other, image, liar}})
	g := walk(t, c, top(index, "v1"), top(c.add(t, specs.Manifest{Config: blob("elsewhere")}), "v2"))
	var got []digest.Digest
	for ref, m := range g.Below(index.Digest) {
		got = append(got, ref.Digest)
		if isManifest := ref.Digest == index.Digest || closure.IsManifest(ref.MediaType); isManifest != (m != nil) {
			t.Errorf("Below yields %s with the manifest %v; want a manifest: %v", ref.Digest, m, isManifest)
		}
	}
	want := []digest.Digest{index.Digest, image.Digest, lost.Digest, other.Digest, liar.Digest, blob("config").Digest, shared.Digest, blob("other").Digest}
	if !slices.Equal(got, want) {
		t.Errorf("Below yields %v, want %v", got, want)
	}
	for ref, m := range g.Below(lost.Digest) {
		if ref.Digest != lost.Digest || m.Unavailable == nil {
			t.Errorf("Below yields %v for a missing manifest, want only the manifest itself", ref)
		}
	}
	for ref := range g.Below(digest.FromString("unknown")) {
		if ref.Digest != digest.FromString("unknown") {
			t.Errorf("Below yields %v for an unknown digest, want only the digest itself", ref)
		}
		break
	}
}

// Layers returns the layers of an index's first image. It follows nested indexes only to a limited depth.
func TestLayersOfImageAndIndex(t *testing.T) {
	c := content{}
	read := func(d digest.Digest) ([]byte, error) {
		if body, ok := c[d]; ok {
			return body, nil
		}
		return nil, errMissing
	}
	first := c.add(t, specs.Manifest{Config: blob("config"), Layers: []specs.Descriptor{blob("one"), blob("two")}})
	second := c.add(t, specs.Manifest{Config: blob("config"), Layers: []specs.Descriptor{blob("three")}})
	index := c.add(t, specs.Index{Manifests: []specs.Descriptor{first, second}})
	for _, d := range []digest.Digest{first.Digest, index.Digest} {
		layers, err := closure.Layers(d, read)
		if err != nil || len(layers) != 2 || layers[0].Digest != blob("one").Digest || layers[1].Digest != blob("two").Digest {
			t.Errorf("Layers = %v, error %v; want the layers one and two", layers, err)
		}
	}
	if _, err := closure.Layers(digest.FromString("unknown"), read); !errors.Is(err, errMissing) {
		t.Error(err)
	}
	c[digest.FromString("text")] = []byte("text")
	if _, err := closure.Layers(digest.FromString("text"), read); err == nil {
		t.Error("Layers of plain text: got no error, want one")
	}
	for range 8 {
		index = c.add(t, specs.Index{Manifests: []specs.Descriptor{index}})
	}
	if _, err := closure.Layers(index.Digest, read); err == nil || !strings.Contains(err.Error(), "index of indexes") {
		t.Error(err)
	}
}
