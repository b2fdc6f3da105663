package layoutstore_test

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// benchArchives is a directory of archives. Each archive contains one layout with many small blobs.
type benchArchives struct {
	dir     string
	entries int           // number of entries per archive
	last    digest.Digest // digest of the last blob, the same in each archive
}

func makeArchives(b *testing.B, archives, entries, size int) benchArchives {
	b.Helper()
	h := benchArchives{dir: b.TempDir(), entries: entries}
	for i := range archives {
		if err := h.write(i, size); err != nil {
			b.Fatal(err)
		}
	}
	return h
}

func (h *benchArchives) write(archive, size int) error {
	f, err := os.Create(filepath.Join(h.dir, fmt.Sprintf("archive-%02d.tar", archive)))
	if err != nil {
		return err
	}
	buf := bufio.NewWriterSize(f, 1<<20)
	w := tar.NewWriter(buf)
	layout := fmt.Sprintf("layout-%02d", archive)
	body := make([]byte, size)
	entry := func(name string, body []byte) error {
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: layout + "/" + name, Size: int64(len(body)), Mode: 0o777, Format: tar.FormatGNU})
		if err == nil {
			_, err = w.Write(body)
		}
		return err
	}
	for i := range h.entries - 1 {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
		h.last = digest.NewDigestFromEncoded(digest.SHA256, hex.EncodeToString(sum[:]))
		if err := entry("blobs/sha256/"+h.last.Encoded(), body); err != nil {
			return err
		}
	}
	err = entry("index.json", []byte(`{"schemaVersion":2,"manifests":[]}`))
	return errors.Join(err, w.Close(), buf.Flush(), f.Close())
}

func (h *benchArchives) open(b *testing.B, cache string) *layoutstore.Tree {
	b.Helper()
	tree, err := layoutstore.Open(context.Background(), layoutstore.Options{Sources: []string{h.dir}, CacheDir: cache})
	if err != nil {
		b.Fatal(err)
	}
	return tree
}

func (h *benchArchives) openLastBlobs(b *testing.B, tree *layoutstore.Tree) {
	b.Helper()
	names, _ := tree.Snapshot().Repositories("", -1)
	if len(names) == 0 || len(problemsOf(tree.Snapshot())) > 0 {
		b.Fatal(names, problemsOf(tree.Snapshot()))
	}
	for _, name := range names {
		r, err := tree.Snapshot().Repository(name)
		if err != nil {
			b.Fatal(err)
		}
		blob, err := r.Blob(context.Background(), h.last)
		if err != nil {
			b.Fatal(err)
		}
		content, err := blob.Open(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		content.Close()
	}
}

// BenchmarkArchives opens archives without and with cached indexes. Four times as many entries must
// take at most 4.4 times as long.
func BenchmarkArchives(b *testing.B) {
	for _, c := range []struct{ archives, entries, size int }{
		{1, 10_000, 512},
		{20, 4_000, 512},
		{1, 250_000, 0},
		{1, 1_000_000, 0}, // the headers alone take half a gigabyte
	} {
		b.Run(fmt.Sprintf("%dx%d", c.archives, c.entries), func(b *testing.B) {
			h := makeArchives(b, c.archives, c.entries, c.size)
			loop := func(cache string) func(b *testing.B) {
				return func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						h.openLastBlobs(b, h.open(b, cache))
					}
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*c.archives*c.entries), "ns/entry")
				}
			}
			b.Run("cold", loop(""))
			cache := b.TempDir()
			if err := h.open(b, cache).SaveCaches(context.Background()); err != nil {
				b.Fatal(err)
			}
			if kept, err := filepath.Glob(filepath.Join(cache, "*.index")); len(kept) != c.archives {
				b.Fatal(kept, err)
			}
			b.Run("kept", loop(cache))
		})
	}
}
