package closure_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
)

// content maps digests to manifests. It replaces the files of a layout.
type content map[digest.Digest][]byte

func (c content) add(t *testing.T, v any) specs.Descriptor {
	t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	d := digest.FromBytes(body)
	c[d] = body
	mediaType := specs.MediaTypeImageManifest
	if _, ok := v.(specs.Index); ok {
		mediaType = specs.MediaTypeImageIndex
	}
	return specs.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(body))}
}

func (c content) read(_ context.Context, d digest.Digest) (body []byte, unavailable, err error) {
	body, ok := c[d]
	if !ok {
		return nil, errMissing, nil
	}
	return body, nil, nil
}

var errMissing = errors.New("missing")

func blob(name string) specs.Descriptor {
	return specs.Descriptor{MediaType: specs.MediaTypeImageLayer, Digest: digest.FromString(name), Size: int64(len(name))}
}

func top(d specs.Descriptor, tags ...string) closure.Top {
	return closure.Top{Digest: d.Digest, MediaType: d.MediaType, Sizes: []int64{d.Size}, Tags: tags}
}

func walk(t *testing.T, c content, tops ...closure.Top) *closure.Graph {
	t.Helper()
	g, err := closure.Walk(context.Background(), tops, c.read)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func find(t *testing.T, g *closure.Graph, d digest.Digest) (int, *closure.Manifest) {
	t.Helper()
	i := slices.IndexFunc(g.Manifests, func(m *closure.Manifest) bool { return m.Digest == d })
	if i < 0 {
		t.Fatalf("the graph does not contain the manifest %s, want it", d)
	}
	return i, g.Manifests[i]
}

// A manifest comes after its children and its subject, even if the top descriptors list it first.
func TestWalkOrdersManifestsAfterChildren(t *testing.T) {
	c := content{}
	config, layer := blob("config"), blob("layer")
	image := c.add(t, specs.Manifest{Config: config, Layers: []specs.Descriptor{layer, layer}})
	inner := c.add(t, specs.Index{Manifests: []specs.Descriptor{image}})
	outer := c.add(t, specs.Index{Manifests: []specs.Descriptor{inner, image}})
	referrer := c.add(t, specs.Manifest{Config: blob("empty"), Subject: &outer, ArtifactType: "application/x"})
	g := walk(t, c, top(referrer), top(outer, "a", "b"), top(inner, "c"))

	var order []int
	for _, d := range []specs.Descriptor{image, inner, outer, referrer} {
		i, m := find(t, g, d.Digest)
		if m.Unavailable != nil {
			t.Errorf("manifest %s: Unavailable = %v, want nil", d.Digest, m.Unavailable)
		}
		order = append(order, i)
	}
	if !slices.IsSorted(order) || len(g.Manifests) != 4 {
		t.Errorf("image, inner, outer and referrer are at the positions %v among %d manifests, want ascending positions among 4", order, len(g.Manifests))
	}
	_, m := find(t, g, image.Digest)
	if got := m.TagsTo(); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("the tags of the image are %q, want a, b, c", got)
	}
	if m.Top || len(m.Parents) != 2 {
		t.Errorf("Top is %v, want false; got %d parents, want 2", m.Top, len(m.Parents))
	}
	if len(g.Blobs) != 3 {
		t.Errorf("got %d blobs, want 3", len(g.Blobs))
	}
	for _, b := range g.Blobs {
		if b.Digest == layer.Digest && (len(b.Claims) != 1 || !slices.Equal(b.TagsTo(), []string{"a", "b", "c"})) {
			t.Errorf("the layer has %d claims, want 1; the tags of the layer are %q, want a, b, c", len(b.Claims), b.TagsTo())
		}
	}
}

func TestWalkFindsUnavailableManifests(t *testing.T) {
	c := content{}
	lost := specs.Descriptor{MediaType: specs.MediaTypeImageManifest, Digest: digest.FromString("lost"), Size: 7}
	index := c.add(t, specs.Index{Manifests: []specs.Descriptor{lost}})
	text := []byte("no manifest")
	c[digest.FromBytes(text)] = text
	torn := specs.Descriptor{MediaType: specs.MediaTypeImageManifest, Digest: digest.FromBytes(text), Size: int64(len(text))}
	liar := c.add(t, specs.Manifest{Config: blob("config")})
	liar.Size++
	g := walk(t, c, top(index, "index"), top(torn, "torn"), top(liar, "liar"))
	if _, m := find(t, g, lost.Digest); !errors.Is(m.Unavailable, errMissing) || m.Size != 7 || !slices.Equal(m.TagsTo(), []string{"index"}) {
		t.Errorf("the missing child of the index: got %+v, want it unavailable", m)
	}
	for _, d := range []specs.Descriptor{torn, liar} {
		if _, m := find(t, g, d.Digest); m.Unavailable == nil {
			t.Errorf("the manifest %s is available, want it unavailable", d.Digest)
		}
	}
	if _, m := find(t, g, index.Digest); m.Unavailable != nil {
		t.Errorf("the index is unavailable: %v; want it available", m.Unavailable)
	}
}

// A manifest is available if at least one descriptor states its right size.
func TestWalkAcceptsOneRightSize(t *testing.T) {
	c := content{}
	image := c.add(t, specs.Manifest{Config: blob("config")})
	wrong := image
	wrong.Size = 1
	index := c.add(t, specs.Index{Manifests: []specs.Descriptor{image}})
	g := walk(t, c, top(wrong, "wrong"), top(index))
	if _, m := find(t, g, image.Digest); m.Unavailable != nil || !slices.Equal(m.Claims, []int64{1, image.Size}) {
		t.Errorf("Claims = %v, Unavailable = %v; want the sizes 1 and %d, and nil", m.Claims, m.Unavailable, image.Size)
	}
}

func TestWalkErrors(t *testing.T) {
	disk := errors.New("the disk is gone")
	_, err := closure.Walk(context.Background(), []closure.Top{top(blob("x"), "tag")}, func(context.Context, digest.Digest) ([]byte, error, error) {
		return nil, nil, disk
	})
	if !errors.Is(err, disk) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err = closure.Walk(ctx, []closure.Top{top(blob("x"), "tag")}, content{}.read); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// An index.json may refer to a blob directly, without a tag.
func TestWalkBlobThatIndexJSONRefersTo(t *testing.T) {
	g := walk(t, content{}, top(blob("bare")))
	if len(g.Manifests) != 0 || len(g.Blobs) != 1 || g.Blobs[0].Size() != 4 || g.Blobs[0].Optional {
		t.Errorf("got the graph %+v, want no manifest, and one blob of 4 bytes that is not optional", g)
	}
}

func TestParseEachKindOfManifest(t *testing.T) {
	d := digest.FromString("x").String()
	for name, tc := range map[string]struct {
		body string
		want closure.Refs
	}{
		"docker image": {
			`{"schemaVersion":2,"mediaType":"` + closure.DockerManifest + `","config":{"mediaType":"c","digest":"` + d + `","size":1},"layers":[{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"` + d + `","size":2}]}`,
			closure.Refs{MediaType: closure.DockerManifest, Typed: true, ArtifactType: "c", Blobs: []closure.Ref{
				{Descriptor: closure.Descriptor{MediaType: "c", Digest: digest.Digest(d), Size: 1}},
				{Descriptor: closure.Descriptor{MediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Digest: digest.Digest(d), Size: 2}, Optional: true},
			}},
		},
		"index without mediaType": {
			`{"manifests":[{"digest":"` + d + `","size":3},{"mediaType":"text/plain","digest":"` + d + `","size":4}]}`,
			closure.Refs{MediaType: specs.MediaTypeImageIndex,
				Children: []closure.Descriptor{{Digest: digest.Digest(d), Size: 3}},
				Blobs:    []closure.Ref{{Descriptor: closure.Descriptor{MediaType: "text/plain", Digest: digest.Digest(d), Size: 4}}}},
		},
		"artifact": {
			`{"mediaType":"` + closure.ArtifactManifest + `","artifactType":"t","annotations":{"k":"v"},"blobs":[{"mediaType":"b","digest":"` + d + `","size":5}],"subject":{"mediaType":"s","digest":"` + d + `","size":6}}`,
			closure.Refs{MediaType: closure.ArtifactManifest, Typed: true, ArtifactType: "t", Annotations: map[string]string{"k": "v"},
				Blobs:   []closure.Ref{{Descriptor: closure.Descriptor{MediaType: "b", Digest: digest.Digest(d), Size: 5}}},
				Subject: &closure.Descriptor{MediaType: "s", Digest: digest.Digest(d), Size: 6}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := closure.Parse([]byte(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if r, err := closure.Parse([]byte(`{"config":{"digest":"sha256:short"},"layers":[{"digest":""}]}`)); err != nil || len(r.Malformed) != 2 || len(r.Blobs) != 0 {
		t.Errorf("Parse(malformed digests) = %+v, error %v; want two malformed digests, no blobs and no error", r, err)
	}
}

// Whatever the content is, Parse returns only valid digests, and Walk returns no manifest twice.
func FuzzParse(f *testing.F) {
	d := digest.FromString("x").String()
	f.Add([]byte(`{"manifests":[{"digest":"` + d + `"}],"layers":[{"digest":"` + d + `","size":-1}],"subject":{"digest":"` + d + `"}}`))
	f.Add([]byte(`{"config":null,"layers":[{}],"mediaType":7}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := closure.Parse(body)
		if err != nil {
			return
		}
		all := slices.Clone(r.Children)
		for _, b := range r.Blobs {
			all = append(all, b.Descriptor)
		}
		if r.Subject != nil {
			all = append(all, *r.Subject)
		}
		for _, d := range all {
			if err := d.Digest.Validate(); err != nil {
				t.Errorf("got the digest %q with the error %v, want only valid digests", d.Digest, err)
			}
		}
		g, err := closure.Walk(context.Background(), []closure.Top{{Digest: digest.FromBytes(body), Sizes: []int64{int64(len(body))}, Tags: []string{"t"}}},
			content{digest.FromBytes(body): body}.read)
		if err != nil || len(g.Manifests) == 0 {
			t.Fatalf("Walk = %+v, error %v; want at least one manifest and no error", g, err)
		}
		seen := map[digest.Digest]bool{}
		for _, m := range g.Manifests {
			if seen[m.Digest] {
				t.Errorf("got the manifest %s twice, want each manifest once", m.Digest)
			}
			seen[m.Digest] = true
		}
	})
}
