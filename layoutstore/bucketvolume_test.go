package layoutstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/buckettest"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume/volumetest"
)

// putTree uploads a tree of layouts, and returns its generation. epoch is the epoch of its blobs.
func putTree(t *testing.T, b bucket.Bucket, tree *layouttest.Tree, epoch uint32) journal.Generation {
	t.Helper()
	dir, err := volume.OpenDir(tree.Dir())
	layouttest.Try(t, err)
	listing, err := dir.Layouts(t.Context())
	layouttest.Try(t, err)
	g := journal.Generation{Format: journal.Format, Generation: 1}
	at := journal.NewGenerationDir(1)
	for n, l := range listing.Layouts {
		index, err := journal.PutStored(t.Context(), b, fmt.Sprintf("%s%d-index", at, n), layouttest.ReadFile(t, filepath.Join(tree.Dir(), l.Path, "index.json")))
		layouttest.Try(t, err)
		all, err := dir.Blobs(t.Context(), l.Path)
		layouttest.Try(t, err)
		var blobs []journal.StoredBlob
		for _, d := range all {
			blobs = append(blobs, putBlob(t, b, filepath.Join(tree.Dir(), l.Path, "blobs", d.Algorithm().String(), d.Encoded()), d, epoch))
		}
		list, err := journal.PutStored(t.Context(), b, fmt.Sprintf("%s%d-blobs", at, n), journal.FormatBlobs(blobs))
		layouttest.Try(t, err)
		g.Layouts = append(g.Layouts, journal.StoredLayout{Path: l.Path, Index: index, Blobs: list})
	}
	return g
}

func putBlob(t *testing.T, b bucket.Bucket, file string, d digest.Digest, epoch uint32) journal.StoredBlob {
	t.Helper()
	f, err := os.Open(file)
	layouttest.Try(t, err)
	defer f.Close()
	info, err := f.Stat()
	layouttest.Try(t, err)
	_, err = b.Put(t.Context(), journal.BlobKey(d, epoch), f, info.Size(), bucket.PutOptions{})
	layouttest.Try(t, err)
	return journal.StoredBlob{Digest: d, Size: info.Size(), Epoch: epoch}
}

func TestBucketVolumeConformsToVolume(t *testing.T) {
	for _, epoch := range []uint32{0, 3} {
		t.Run(fmt.Sprint("epoch ", epoch), func(t *testing.T) {
			volumetest.Run(t, func(t *testing.T, tree *layouttest.Tree) volume.Volume {
				b := buckettest.Start(t).Open(t, "store")
				v := &bucketVolume{bucket: b}
				layouttest.Try(t, v.load(t.Context(), putTree(t, b, tree, epoch)))
				return v
			})
		})
	}
}

// A bucket volume does not locate a deleted blob, so a check reports the blob as missing.
func TestBucketVolumeDoesNotLocateDeletedBlobs(t *testing.T) {
	s := buckettest.Start(t)
	b := s.Open(t, "store")
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("app")
	d := l.Image(layouttest.Image{Name: "app", LayerSizes: []int64{100}})
	l.Tag(d, "v1")
	l.Write()
	g := putTree(t, b, tree, 0)
	v := &bucketVolume{bucket: b}
	layouttest.Try(t, v.load(t.Context(), g))
	if _, err := v.Locate(t.Context(), "app", d.Digest); err != nil {
		t.Fatal(err)
	}
	s.Remove(t, "store/"+journal.BlobKey(d.Digest, 0))
	layouttest.Try(t, v.load(t.Context(), g))
	if where, err := v.Locate(t.Context(), "app", d.Digest); err == nil {
		t.Errorf("Locate(deleted blob) = %v, want an error", where)
	}
}

// A stored index with wrong content is not read, even if its size is right.
func TestBucketVolumeVerifiesIndexes(t *testing.T) {
	s := buckettest.Start(t)
	b := s.Open(t, "store")
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("app")
	l.Tag(l.Image(layouttest.Image{Name: "app"}), "v1")
	l.Write()
	g := putTree(t, b, tree, 0)
	v := &bucketVolume{bucket: b}
	layouttest.Try(t, v.load(t.Context(), g))
	listing, err := v.Layouts(t.Context())
	layouttest.Try(t, err)
	key := "store/" + g.Layouts[0].Index.Key
	right := s.Read(t, key)
	if got, err := listing.Layouts[0].Index.ReadAll(t.Context()); err != nil || !bytes.Equal(got, right) {
		t.Errorf("index: got %q and error %v, want %q", got, err, right)
	}
	s.Write(t, key, bytes.ToUpper(right))
	if got, err := listing.Layouts[0].Index.ReadAll(t.Context()); !errors.Is(err, errChecksum) {
		t.Errorf("index with wrong content: got %q and error %v, want errChecksum", got, err)
	}
}

// A generation with a malformed size or digest of an index does not end the program. The problem names the index.
func TestBucketVolumeWithMalformedIndex(t *testing.T) {
	s := buckettest.Start(t)
	b := s.Open(t, "store")
	tree := layouttest.New(t, t.TempDir())
	tree.Layout("app").Write()
	for name, change := range map[string]func(*journal.StoredObject){
		"negative size":       func(o *journal.StoredObject) { o.Size = -1 },
		"no digest":           func(o *journal.StoredObject) { o.Digest = "" },
		"unknown algorithm":   func(o *journal.StoredObject) { o.Digest = "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709" },
		"digest without hash": func(o *journal.StoredObject) { o.Digest = "sha256:" },
	} {
		g := putTree(t, b, tree, 0)
		change(&g.Layouts[0].Index)
		v := &bucketVolume{bucket: b}
		layouttest.Try(t, v.load(t.Context(), g))
		h := &volumeState{vol: v}
		listing, err := v.Layouts(t.Context())
		layouttest.Try(t, err)
		layouttest.Try(t, h.readLayouts(t.Context(), listing, nil))
		if len(h.layouts) > 0 || len(h.problems) != 1 || h.problems[0].Entry != "app/index.json" || h.problems[0].Path != v.String() {
			t.Errorf("%s: got %d layouts and the problems %v, want no layout, and one problem with the entry app/index.json", name, len(h.layouts), h.problems)
		}
	}
}
