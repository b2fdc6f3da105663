package volume_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// Wherever an archive is cut into chunks, each located file must have the content that archive/tar reads from
// the uncut archive. If a chunk is missing, each located file must still have content from the archive.
func FuzzChunks(f *testing.F) {
	for _, s := range seedArchives(f) {
		f.Add(s, uint16(100), uint16(700), uint16(1600), uint16(5000), uint8(9))
		f.Add(s, uint16(512), uint16(512), uint16(1024), uint16(4096), uint8(2))
		f.Add(s, uint16(0), uint16(1), uint16(2), uint16(3), uint8(0))
	}
	f.Fuzz(func(t *testing.T, data []byte, a, b, c, d uint16, lost uint8) {
		dir := t.TempDir()
		rest := data
		for i, n := range []uint16{a, b, c, d} {
			n := min(int(n), len(rest))
			if i != int(lost) {
				layouttest.WriteFile(t, filepath.Join(dir, fmt.Sprintf("a.tar.%04d.chunk", i)), rest[:n])
			}
			rest = rest[n:]
		}
		layouttest.WriteFile(t, filepath.Join(dir, "a.tar.0004.chunk"), rest)
		archive := openArchive(t, dir, "")
		if lost > 4 {
			compare(t, archive, data)
			return
		}
		// The scan cannot know whether an entry in the missing chunk, or after it, replaced an
		// earlier entry. So a located file may have the content of an earlier entry.
		listing, err := archive.Layouts(t.Context())
		layouttest.Try(t, err)
		for _, l := range listing.Layouts {
			blobs, err := archive.Blobs(t.Context(), l.Path)
			layouttest.Try(t, err)
			for _, d := range blobs {
				where, err := archive.Locate(t.Context(), l.Path, d)
				if err != nil {
					continue
				}
				if got, err := where.ReadAll(t.Context()); err != nil || !bytes.Contains(data, got) {
					t.Errorf("%s in %q: got %d bytes and the error %v, want bytes from the archive and no error", d, l.Path, len(got), err)
				}
			}
		}
	})
}

// The journal of a publication must only list files in its directory. If the journal is written and
// read again, it must be unchanged.
func FuzzPublication(f *testing.F) {
	f.Add([]byte(`{"format":1,"staged":".layoutproxy-publication.0","place":[{"name":"a.tar"}],"remove":["b.tar"]}`))
	f.Add([]byte(`{"format":1,"staged":".layoutproxy-publication.0","place":[{"name":"../a.tar"}]}`))
	f.Add([]byte(`{"format":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		file := filepath.Join(dir, volume.PublicationFile)
		layouttest.WriteFile(t, file, data)
		p, err := volume.ReadPublication(dir)
		if err != nil {
			return
		}
		for _, name := range p.Remove {
			if !filepath.IsLocal(name) {
				t.Errorf("ReadPublication accepts a journal that removes %q, want an error", name)
			}
		}
		for _, placed := range p.Place {
			if !filepath.IsLocal(placed.Name) {
				t.Errorf("ReadPublication accepts a journal that places %q, want an error", placed.Name)
			}
		}
		written, err := p.Encode()
		layouttest.Try(t, err)
		layouttest.Try(t, os.WriteFile(file, written, 0o600))
		again, err := volume.ReadPublication(dir)
		layouttest.Try(t, err)
		if twice, err := again.Encode(); err != nil || !bytes.Equal(twice, written) {
			t.Errorf("the journal %q was read and encoded again: got %q and the error %v, want the same journal", written, twice, err)
		}
		if files, err := volume.OpenFiles(dir); err == nil {
			files.Close()
		}
	})
}
