package closure_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
)

// A graph lists each blob once, sorted by digest. A blob has one claim for each pair of a
// manifest that refers to it and a size.
func TestBlobsSortedByDigest(t *testing.T) {
	c := content{}
	var layers []specs.Descriptor
	for i := range 20 {
		layers = append(layers, blob(fmt.Sprint("layer ", i)))
	}
	longer := layers[0]
	longer.Size++
	image := c.add(t, specs.Manifest{Config: blob("config"), Layers: append(layers, longer, layers[0])})
	bare := top(layers[1])
	bare.Tags = nil
	g := walk(t, c, top(image, "v1"), bare)
	if !slices.IsSortedFunc(g.Blobs, func(a, b *closure.Blob) int { return slices.Compare([]byte(a.Digest), []byte(b.Digest)) }) || len(g.Blobs) != 21 {
		t.Errorf("got %d blobs, want 21 sorted by digest", len(g.Blobs))
	}
	for _, b := range g.Blobs {
		want := 1
		switch b.Digest {
		case longer.Digest: // descriptors state two sizes for this blob
			want = 2
		case bare.Digest: // a manifest and an index.json refer to this blob
			want = 2
		}
		if len(b.Claims) != want || !slices.Equal(b.TagsTo(), []string{"v1"}) {
			t.Errorf("blob %s: got %d claims, want %d; got the tags %q, want v1", b.Digest, len(b.Claims), want, b.TagsTo())
		}
	}
}

// If an index.json refers to a blob directly, the tags of its descriptor lead to the blob.
func TestTagsOfBlobThatIndexJSONRefersTo(t *testing.T) {
	if tags := (closure.Claim{Size: 1, Tags: []string{"a", "b"}}).TagsTo(); !slices.Equal(tags, []string{"a", "b"}) {
		t.Errorf("got the tags %q, want a and b", tags)
	}
}

// A graph keeps at most eight sizes and eight media types per manifest, each once, however many
// descriptors there are.
func TestSizesAndTypesPerManifestAreLimited(t *testing.T) {
	const most = 8
	c := content{}
	image := c.add(t, specs.Manifest{Config: blob("config")})
	var tops []closure.Top
	for i := range 3 * most {
		claimed := image
		claimed.Size = int64(i / 2)
		claimed.MediaType = []string{specs.MediaTypeImageManifest, closure.DockerManifest, specs.MediaTypeImageIndex, closure.DockerManifestList, closure.ArtifactManifest}[i%5]
		index := c.add(t, specs.Index{Manifests: []specs.Descriptor{claimed, image}, Annotations: map[string]string{"n": fmt.Sprint(i)}})
		tops = append(tops, top(index, "t"))
	}
	_, m := find(t, walk(t, c, tops...), image.Digest)
	if len(m.Claims) != most || len(slices.Compact(slices.Sorted(slices.Values(m.Claims)))) != most {
		t.Errorf("got the sizes %d, want eight different ones", m.Claims)
	}
	if len(m.Types) != 5 || len(slices.Compact(slices.Sorted(slices.Values(m.Types)))) != 5 {
		t.Errorf("got the media types %q, want five different ones", m.Types)
	}
	// The media types from index.json come first. The graph keeps all of them, because the code
	// that reads index.json limits their number.
	one := top(image, "t")
	for i := range most - 1 {
		one.Others = append(one.Others, fmt.Sprint("application/", i))
	}
	image.MediaType = closure.DockerManifest
	tops = append([]closure.Top{one}, top(c.add(t, specs.Index{Manifests: []specs.Descriptor{image}}), "x"))
	if _, m = find(t, walk(t, c, tops...), image.Digest); len(m.Types) != most {
		t.Errorf("got the media types %q, want the eight from index.json", m.Types)
	}
}

// An unavailable manifest gets its size and media type from its descriptors. If the manifest was
// refused, Unavailable is the reason for the refusal, even if the size is wrong too.
func TestUnavailableManifestInGraph(t *testing.T) {
	c := content{}
	lost := closure.Top{Digest: digest.FromString("lost"), Tags: []string{"lost"}, Sizes: []int64{7, 8}}
	typed := specs.Descriptor{MediaType: closure.DockerManifest, Digest: lost.Digest, Size: 9}
	index := c.add(t, specs.Index{Manifests: []specs.Descriptor{typed}})
	unknown := closure.Top{Digest: digest.FromString("unknown"), Tags: []string{"unknown"}}
	text := []byte("no manifest")
	c[digest.FromBytes(text)] = text
	torn := closure.Top{Digest: digest.FromBytes(text), MediaType: specs.MediaTypeImageManifest, Tags: []string{"torn"}, Sizes: []int64{1}}
	unsized := top(c.add(t, specs.Manifest{Config: blob("config")}), "unsized")
	unsized.Sizes = nil
	g := walk(t, c, lost, top(index, "index"), unknown, torn, unsized)
	if _, m := find(t, g, lost.Digest); !errors.Is(m.Unavailable, errMissing) || m.Size != 7 || m.MediaType != typed.MediaType {
		t.Errorf("missing manifest: got %d bytes, media type %q, error %v; want 7, %q, errMissing", m.Size, m.MediaType, m.Unavailable, typed.MediaType)
	}
	if _, m := find(t, g, unknown.Digest); !errors.Is(m.Unavailable, errMissing) || m.Size != 0 {
		t.Errorf("missing manifest of unknown size: got %d bytes and the error %v, want 0 and errMissing", m.Size, m.Unavailable)
	}
	if _, m := find(t, g, torn.Digest); m.Refused == nil || m.Unavailable != m.Refused { //nolint:errorlint // must be the same error
		t.Errorf("refused manifest: Refused = %v, Unavailable = %v; want the same error", m.Refused, m.Unavailable)
	}
	if _, m := find(t, g, unsized.Digest); m.Unavailable != nil {
		t.Errorf("manifest whose descriptor has no size: Unavailable = %v, want nil", m.Unavailable)
	}
}

// A traversal waits for at most eight slow manifests at a time. It waits for the duration Patience
// before it starts to read the next manifest. Waiting may be nil.
func TestTraversalOfSlowManifests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := content{}
		var tops []closure.Top
		for i := range 20 {
			tops = append(tops, top(c.add(t, specs.Manifest{Config: blob(fmt.Sprint(i))}), "t"))
		}
		begun, answer := make(chan digest.Digest, len(tops)), make(chan struct{})
		run := closure.Traversal{Visitor: &visits{}, Patience: time.Second, Read: func(ctx context.Context, d digest.Digest) ([]byte, error, error) {
			begun <- d
			<-answer
			return c.read(ctx, d)
		}}
		ended := make(chan error, 1)
		go func() {
			found, err := run.Run(t.Context(), tops)
			if len(found) != len(tops) {
				err = fmt.Errorf("Run: got %d manifests, want %d; error %w", len(found), len(tops), err)
			}
			ended <- err
		}()
		for n := 1; n <= 8; n++ {
			synctest.Wait()
			if len(begun) != n {
				t.Fatalf("after %d seconds, the traversal has begun to read %d manifests, want %d", n-1, len(begun), n)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(begun) != 8 {
			t.Errorf("the traversal reads %d slow manifests at a time, want 8", len(begun))
		}
		close(answer)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// A traversal does not call Waiting if no manifest is late.
func TestTraversalOfFastManifests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := content{}
		image := c.add(t, specs.Manifest{Config: blob("config")})
		run := closure.Traversal{Visitor: &visits{}, Patience: time.Second, Read: c.read, Waiting: func() { t.Error("Waiting was called, want no call: no manifest is late") }}
		if found, err := run.Run(t.Context(), []closure.Top{top(image, "a"), top(c.add(t, specs.Index{Manifests: []specs.Descriptor{image}}), "b")}); err != nil || len(found) != 2 {
			t.Errorf("got %d manifests and the error %v, want 2 and none", len(found), err)
		}
	})
}
