package closure_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
)

// visits records which manifests and blobs a traversal passes to its visitor.
type visits struct {
	manifests []digest.Digest
	blobs     []digest.Digest
	origins   map[digest.Digest]digest.Digest
}

func (v *visits) Manifest(m *closure.Manifest) {
	v.manifests = append(v.manifests, m.Digest)
	if v.origins == nil {
		v.origins = map[digest.Digest]digest.Digest{}
	}
	v.origins[m.Digest] = m.Origin().Digest
	for _, b := range m.Refs.Blobs {
		v.blobs = append(v.blobs, b.Digest)
	}
	m.Refs = closure.Refs{MediaType: m.Refs.MediaType, Typed: m.Refs.Typed} // the server clears Refs like this
}

func (v *visits) Blob(t closure.Top) { v.blobs = append(v.blobs, t.Digest) }

// A traversal reads every manifest once, breadth first, even if several others refer to it.
func TestTraversalReadsOnceBreadthFirst(t *testing.T) {
	c := content{}
	image := c.add(t, specs.Manifest{Config: blob("config")})
	inner := c.add(t, specs.Index{Manifests: []specs.Descriptor{image}})
	outer := c.add(t, specs.Index{Manifests: []specs.Descriptor{inner, image}})
	other := c.add(t, specs.Index{Manifests: []specs.Descriptor{inner}})
	reads := map[digest.Digest]int{}
	var v visits
	run := closure.Traversal{Visitor: &v, Read: func(ctx context.Context, d digest.Digest) ([]byte, error, error) {
		reads[d]++
		return c.read(ctx, d)
	}}
	found, err := run.Run(t.Context(), []closure.Top{top(outer, "a"), top(other, "b"), top(blob("bare"))})
	if err != nil {
		t.Fatal(err)
	}
	if want := []digest.Digest{outer.Digest, other.Digest, inner.Digest, image.Digest}; !slices.Equal(v.manifests, want) {
		t.Errorf("manifests visited in the order %v, want %v", v.manifests, want)
	}
	for d, n := range reads {
		if n != 1 {
			t.Errorf("the manifest %s was read %d times, want once", d, n)
		}
	}
	if len(reads) != 4 || len(found) != 4 || v.origins[image.Digest] != outer.Digest {
		t.Errorf("got %d reads and %d manifests, want 4 each; the origin of the image is %s, want %s", len(reads), len(found), v.origins[image.Digest], outer.Digest)
	}
	if want := []digest.Digest{blob("bare").Digest, blob("config").Digest}; !slices.Equal(v.blobs, want) {
		t.Errorf("blobs visited in the order %v, want %v", v.blobs, want)
	}
	for _, m := range found {
		if m.Unavailable != nil || m.MediaType == "" {
			t.Errorf("the manifest %s has the media type %q and the error %v; want any media type and no error", m.Digest, m.MediaType, m.Unavailable)
		}
	}
}

// While a traversal waits for a slow manifest, it reads everything else, including children of other indexes.
func TestTraversalContinuesPastSlowManifest(t *testing.T) {
	c := content{}
	slow := c.add(t, specs.Manifest{Config: blob("slow")})
	image := c.add(t, specs.Manifest{Config: blob("config")})
	index := c.add(t, specs.Index{Manifests: []specs.Descriptor{image}})
	release := make(chan struct{})
	var v visits
	run := closure.Traversal{Visitor: &v, Patience: time.Millisecond, Read: func(ctx context.Context, d digest.Digest) ([]byte, error, error) {
		if d == slow.Digest {
			<-release
		}
		return c.read(ctx, d)
	}}
	released := false
	run.Waiting = func() {
		if len(v.manifests) == 2 && !released {
			released = true
			close(release)
		}
	}
	found, err := run.Run(t.Context(), []closure.Top{top(slow, "slow"), top(index, "index")})
	if err != nil || len(found) != 3 {
		t.Fatalf("got %d manifests and the error %v, want 3 and none", len(found), err)
	}
	if want := []digest.Digest{index.Digest, image.Digest, slow.Digest}; !slices.Equal(v.manifests, want) {
		t.Errorf("manifests visited in the order %v, want %v", v.manifests, want)
	}
}

// When its context ends, a traversal stops waiting for late manifests.
func TestTraversalCancelledWhileWaiting(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	defer close(release)
	run := closure.Traversal{Visitor: &visits{}, Patience: time.Millisecond, Waiting: cancel, Read: func(context.Context, digest.Digest) ([]byte, error, error) {
		<-release
		return nil, errMissing, nil
	}}
	if _, err := run.Run(ctx, []closure.Top{top(blob("x"), "tag")}); !errors.Is(err, context.Canceled) {
		t.Errorf("Run: got the error %v, want context.Canceled", err)
	}
}
