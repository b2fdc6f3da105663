package bundle_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// sample returns an archive of one layout, and a function that opens its blobs.
func sample(t *testing.T) (*bundle.Archive, bundle.Open) {
	t.Helper()
	blobs := map[digest.Digest][]byte{}
	l := &bundle.Layout{Path: "app", Repository: "shop/app"}
	for _, data := range []string{"a manifest", string(bytes.Repeat([]byte("a layer "), 300))} {
		d := closure.Descriptor{MediaType: specs.MediaTypeImageManifest, Digest: digest.FromString(data), Size: int64(len(data))}
		blobs[d.Digest] = []byte(data)
		l.Blobs = append(l.Blobs, d)
	}
	l.Images = []bundle.Image{{Tag: "v1", Reference: "registry.example/shop/app:v1", Descriptor: l.Blobs[0]}}
	l.Blobs = bundle.SortBlobs(l.Blobs)
	a, err := bundle.NewArchive("app.tar", []*bundle.Layout{l})
	layouttest.Try(t, err)
	return a, func(d digest.Digest) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(blobs[d])), nil }
}

func discard(int64) {}

// IsSame returns false if any byte of any file differs.
func TestIsSameNoticesAnyChangedByte(t *testing.T) {
	a, open := sample(t)
	for name, form := range map[string]bundle.Form{"whole": {}, "chunks": {ChunkSize: 1500}, "checksums": {ChunkSize: 4000, NewSum: func() hash.Hash { return sha256.New() }}} {
		dir := t.TempDir()
		if same, err := a.In(dir, form, discard).IsSame(t.Context()); same || err != nil {
			t.Errorf("%s: IsSame in an empty directory = %v, error %v; want false and no error", name, same, err)
		}
		_, err := a.Write(t.Context(), dir, form, open)
		layouttest.Try(t, err)
		var counted int64
		present := a.In(dir, form, func(n int64) { counted += n })
		same, err := present.IsSame(t.Context())
		if !same || err != nil || !present.HasSums() || counted != a.Size {
			t.Errorf("%s: IsSame = %v, error %v, HasSums = %v; want true for both. IsSame counted %d bytes, want %d", name, same, err, present.HasSums(), counted, a.Size)
		}
		for _, f := range form.Files(a) {
			file := filepath.Join(dir, f.Name)
			data, err := os.ReadFile(file)
			layouttest.Try(t, err)
			for at := 0; at < len(data); at += 97 {
				data[at] ^= 1
				layouttest.Try(t, os.WriteFile(file, data, 0o644))
				if same, err := a.In(dir, form, discard).IsSame(t.Context()); same || err != nil {
					t.Fatalf("%s: IsSame after a change of byte %d of %s = %v, error %v; want false and no error", name, at, f.Name, same, err)
				}
				data[at] ^= 1
			}
			layouttest.Try(t, os.WriteFile(file, data, 0o644))
		}
		other := filepath.Join(dir, "app.tar.0042.chunk")
		layouttest.Try(t, os.WriteFile(other, nil, 0o644))
		if a.In(dir, form, discard).HasFiles() {
			t.Errorf("%s: HasFiles with an additional chunk in the directory = true, want false", name)
		}
		layouttest.Try(t, os.Remove(other))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if same, err := a.In(dir, form, discard).IsSame(ctx); same || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: IsSame with an ended context = %v, error %v; want false and context.Canceled", name, same, err)
		}
	}
}

// WriteSums writes only the checksum files that are missing or wrong.
func TestWriteSums(t *testing.T) {
	a, open := sample(t)
	dir, staged := t.TempDir(), t.TempDir()
	form := bundle.Form{ChunkSize: 1500, NewSum: func() hash.Hash { return sha256.New() }}
	_, err := a.Write(t.Context(), dir, form, open)
	layouttest.Try(t, err)
	files := form.Files(a)
	layouttest.Try(t, os.Remove(filepath.Join(dir, files[0].Name+".gostsum")))
	layouttest.Try(t, os.WriteFile(filepath.Join(dir, files[1].Name+".gostsum"), []byte("00"), 0o644))
	present := a.In(dir, form, discard)
	if same, err := present.IsSame(t.Context()); !same || err != nil || present.HasSums() {
		t.Fatalf("IsSame = %v, error %v, HasSums = %v; want IsSame = true and HasSums = false", same, err, present.HasSums())
	}
	names, err := present.WriteSums(staged)
	layouttest.Try(t, err)
	if len(names) != 2 {
		t.Errorf("WriteSums wrote %q, want 2 files", names)
	}
	for i, name := range names {
		data, err := os.ReadFile(filepath.Join(dir, files[i].Name))
		layouttest.Try(t, err)
		text, err := os.ReadFile(filepath.Join(staged, name))
		layouttest.Try(t, err)
		if sum := sha256.Sum256(data); string(text) != hex.EncodeToString(sum[:]) {
			t.Errorf("WriteSums wrote %q to %s, want %x", text, name, sum)
		}
	}
}

// Place repairs a blob in all layouts of a tree where it is missing or damaged. It links or copies
// an intact file of the tree or, if there is none, a file from elsewhere.
func TestPlaceRepairsBlobsOfTree(t *testing.T) {
	data := []byte("a layer")
	d := closure.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
	layouts := []*bundle.Layout{{Path: ".", Blobs: []closure.Descriptor{d}}, {Path: "a/b", Blobs: []closure.Descriptor{d}}}
	dir := t.TempDir()
	paths := []string{filepath.Join(dir, "blobs/sha256", d.Digest.Encoded()), filepath.Join(dir, "a/b/blobs/sha256", d.Digest.Encoded())}
	elsewhere := filepath.Join(t.TempDir(), "blob")
	layouttest.Try(t, os.WriteFile(elsewhere, data, 0o644))
	for name, before := range map[string][2]string{"nothing": {}, "one": {"a layer", ""}, "the other": {"", "a layer"}, "damaged": {"A layer", "a layer"}, "both damaged": {"A layer", "a lajer"}, "cut": {"a", ""}} {
		for i, text := range before {
			layouttest.Try(t, os.RemoveAll(paths[i]))
			if text != "" {
				layouttest.Try(t, os.MkdirAll(filepath.Dir(paths[i]), 0o755))
				layouttest.Try(t, os.WriteFile(paths[i], []byte(text), 0o644))
			}
		}
		blobs, err := bundle.MakeTree(dir, layouts)
		layouttest.Try(t, err)
		b := blobs[d.Digest]
		found, err := b.Find(t.Context())
		layouttest.Try(t, err)
		if want := before[0] == string(data) || before[1] == string(data); found != want {
			t.Errorf("%s: Find = %v, want %v", name, found, want)
		}
		if !found {
			b.Use(elsewhere)
		}
		layouttest.Try(t, b.Place(t.Context()))
		for _, file := range paths {
			if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s: after Place, %s has the content %q, error %v; want %q", name, file, got, err, data)
			}
		}
	}
}
