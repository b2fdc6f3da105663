package bundle

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

const d8 = "../../cmd/layoutproxy/testdata/d8"

func readArchive(t *testing.T, archive string) (layouts []*Layout, indexes map[string][]byte, blobs map[digest.Digest][]byte) {
	t.Helper()
	f, err := os.Open(archive)
	layouttest.Try(t, err)
	defer f.Close()
	byPath := map[string]*Layout{}
	layout := func(p string) *Layout {
		if byPath[p] == nil {
			byPath[p] = &Layout{Path: p}
			layouts = append(layouts, byPath[p])
		}
		return byPath[p]
	}
	indexes, blobs = map[string][]byte{}, map[digest.Digest][]byte{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return layouts, indexes, blobs
		}
		layouttest.Try(t, err)
		body, err := io.ReadAll(r)
		layouttest.Try(t, err)
		dir, base := path.Split(h.Name)
		switch {
		case base == specs.ImageIndexFile:
			layout(path.Clean(dir)).Images = readImages(t, body)
			indexes[h.Name] = body
		case strings.HasSuffix(dir, "blobs/sha256/"):
			l := layout(path.Clean(strings.TrimSuffix(dir, "blobs/sha256/")))
			d := digest.NewDigestFromEncoded(digest.SHA256, base)
			l.Blobs, blobs[d] = append(l.Blobs, closure.Descriptor{Digest: d, Size: h.Size}), body
		}
	}
}

func readImages(t *testing.T, index []byte) (images []Image) {
	t.Helper()
	var doc specs.Index
	layouttest.Try(t, json.Unmarshal(index, &doc))
	for _, d := range doc.Manifests {
		images = append(images, Image{
			Tag:        d.Annotations[annotationShortTag],
			Reference:  d.Annotations[specs.AnnotationRefName],
			Descriptor: closure.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size},
		})
	}
	return images
}

// For the content of an archive that d8 wrote, this package writes the same bytes as d8.
func TestArchivesMatchThoseOfD8(t *testing.T) {
	archives, err := filepath.Glob(filepath.Join(d8, "*.tar"))
	if err != nil || len(archives) != 10 {
		t.Fatalf("Glob(*.tar) found %d archives of d8, want 10; error %v", len(archives), err)
	}
	for _, archive := range archives {
		t.Run(filepath.Base(archive), func(t *testing.T) {
			want, err := os.ReadFile(archive)
			layouttest.Try(t, err)
			layouts, indexes, blobs := readArchive(t, archive)
			all, err := entriesOf(layouts)
			layouttest.Try(t, err)
			if filepath.Base(archive) == "installer.tar" {
				// In installer.tar, d8 indents index.json differently, because it uses a different library.
				for i, e := range all {
					if path.Base(e.name) == specs.ImageIndexFile {
						if diff := cmp.Diff(readImages(t, indexes[e.name]), readImages(t, e.data)); diff != "" {
							t.Error(diff)
						}
						all[i].data = indexes[e.name]
						all[i].size = int64(len(indexes[e.name]))
					}
				}
			}
			if size, err := tarSize(all); err != nil || size != int64(len(want)) {
				t.Errorf("tarSize = %d bytes, error %v; want %d bytes, the size of d8's archive", size, err, len(want))
			}
			var got bytes.Buffer
			layouttest.Try(t, writeTar(&got, all, func(d digest.Digest) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(blobs[d])), nil }))
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("writeTar wrote %d bytes, want exactly the %d bytes of d8's archive", got.Len(), len(want))
			}
		})
	}
}

// walkOrder sorts paths like filepath.Walk, even if one name is a prefix of another.
func TestWalkOrderMatchesAWalk(t *testing.T) {
	dir := t.TempDir()
	var names []string
	for _, name := range []string{"index.json", "oci-layout", "blobs/sha256/00", "install/index.json", "install-standalone/index.json",
		"install/blobs/sha256/ff", "modules/a/index.json", "modules/a-b/index.json", "modules/a/release/index.json", "modules/a.b/x"} {
		layouttest.Try(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
		layouttest.Try(t, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
	}
	layouttest.Try(t, filepath.Walk(dir, func(file string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			rel, _ := filepath.Rel(dir, file)
			names = append(names, rel)
		}
		return err
	}))
	for i := range names {
		for j := range names {
			got, want := walkOrder(names[i], names[j]), 0
			if i != j {
				want = map[bool]int{true: -1, false: 1}[i < j]
			}
			if got < 0 != (want < 0) || got > 0 != (want > 0) {
				t.Errorf("walkOrder(%s, %s) = %d, want a number with the sign of %d", names[i], names[j], got, want)
			}
		}
	}
}

// The joined chunks have the same bytes as the archive. With a function for new hashes, the writer
// also writes a correct checksum file for each chunk.
func TestWriterWritesChunks(t *testing.T) {
	archive := filepath.Join(d8, "module-stronghold.tar")
	want, err := os.ReadFile(archive)
	layouttest.Try(t, err)
	layouts, _, blobs := readArchive(t, archive)
	all, err := entriesOf(layouts)
	layouttest.Try(t, err)
	sums := map[string]func() hash.Hash{"without checksums": nil, "with checksums": sha256.New}
	for name, newSum := range sums {
		for _, chunk := range []int64{0, int64(len(want)) / 37, 100_000, int64(len(want)), int64(len(want)) - 1} {
			dir := t.TempDir()
			parts := Form{ChunkSize: chunk}.Files(&Archive{Name: "a.tar", Size: int64(len(want))})
			o := NewWriter(dir, parts, newSum, t.Context().Err)
			source := filepath.Join(t.TempDir(), "blob")
			layouttest.Try(t, writeTar(o, all, func(d digest.Digest) (io.ReadCloser, error) {
				layouttest.Try(t, os.WriteFile(source, blobs[d], 0o644))
				return os.Open(source)
			}))
			layouttest.Try(t, o.Close())
			var together []byte
			for i, p := range parts {
				data, err := os.ReadFile(filepath.Join(dir, p.Name))
				layouttest.Try(t, err)
				if int64(len(data)) != p.Size || i < len(parts)-1 && p.Size != chunk {
					t.Errorf("%s, chunk size %d: chunk %s has %d bytes, want the planned %d bytes, which must be the chunk size unless it is the last chunk", name, chunk, p.Name, len(data), p.Size)
				}
				together = append(together, data...)
				sum, err := os.ReadFile(filepath.Join(dir, SumName(p.Name)))
				if newSum == nil {
					if err == nil {
						t.Errorf("%s has a checksum file, want none", p.Name)
					}
					continue
				}
				layouttest.Try(t, err)
				if h := sha256.Sum256(data); string(sum) != hex.EncodeToString(h[:]) {
					t.Errorf("the checksum file of %s contains %q, want %x", p.Name, sum, h)
				}
			}
			if !bytes.Equal(together, want) {
				t.Errorf("%s, chunk size %d: the joined chunks have %d bytes, want exactly the %d bytes of the archive", name, chunk, len(together), len(want))
			}
		}
	}
}

func TestWriterRefusesWrongSizes(t *testing.T) {
	o := NewWriter(t.TempDir(), Form{ChunkSize: 4}.Files(&Archive{Name: "a.tar", Size: 10}), nil, t.Context().Err)
	if _, err := o.Write(make([]byte, 9)); err != nil {
		t.Fatal(err)
	}
	if err := o.Close(); err == nil || !strings.Contains(err.Error(), "a.tar.0002.chunk: 1 bytes are missing") {
		t.Errorf("Close after a Write of 9 of 10 bytes: got error %v, want one about the missing byte", err)
	}
	o = NewWriter(t.TempDir(), Form{ChunkSize: 4}.Files(&Archive{Name: "a.tar", Size: 10}), nil, t.Context().Err)
	if n, err := o.Write(make([]byte, 11)); err == nil || n != 10 {
		t.Errorf("Write of 11 bytes to an archive of 10 = %d, error %v; want 10 and an error", n, err)
	}
}

func TestWriteRefusesABlobOfWrongSize(t *testing.T) {
	e := entry{name: "blobs/sha256/00", size: 4, blob: "sha256:00"}
	for _, body := range []string{"abc", "abcde"} {
		err := writeTar(io.Discard, []entry{e}, func(digest.Digest) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil })
		if err == nil || !strings.Contains(err.Error(), "the manifest says 4") {
			t.Errorf("writeTar of an entry of 4 bytes with the content %q: got error %v, want a size mismatch", body, err)
		}
	}
}
