package volume_test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume/volumetest"
)

func openArchive(t testing.TB, dir string, cache volume.Cache) *volume.Archive {
	t.Helper()
	found, err := volume.FindArchives(dir)
	layouttest.Try(t, err)
	if len(found.Sets) != 1 {
		t.Fatalf("found %d archives, want 1; problems %v", len(found.Sets), found.Problems)
	}
	a, err := volume.OpenArchive(context.Background(), found.Sets[0], cache)
	layouttest.Try(t, err)
	return a
}

func TestArchiveConformance(t *testing.T) {
	for name, how := range map[string]struct {
		archive layouttest.Archive
		cut     func(t *testing.T, file string)
		kept    bool
	}{
		"as packed by d8":             {},
		"PAX":                         {archive: layouttest.Archive{Format: tar.FormatPAX}},
		"by hand":                     {archive: layouttest.Archive{DotSlash: true, Directories: true}},
		"chunks":                      {cut: splitting(1000)},
		"two chunks":                  {cut: splitting(20_000)},
		"chunks of one block":         {cut: func(t *testing.T, file string) { layouttest.Cut(t, file, 512) }},
		"chunks of 777 bytes":         {cut: func(t *testing.T, file string) { layouttest.Cut(t, file, 777) }},
		"one chunk":                   {cut: func(t *testing.T, file string) { layouttest.CutAt(t, file) }},
		"empty chunks":                {cut: func(t *testing.T, file string) { layouttest.CutAt(t, file, 0, 600, 600, 600) }},
		"from a cached index":         {kept: true},
		"chunks, from a cached index": {cut: splitting(3000), kept: true},
	} {
		t.Run(name, func(t *testing.T) {
			volumetest.Run(t, func(t *testing.T, tree *layouttest.Tree) volume.Volume {
				dir := t.TempDir()
				file := filepath.Join(dir, "bundle.tar")
				tree.Archive(file, how.archive)
				if how.cut != nil {
					how.cut(t, file)
				}
				if !how.kept {
					return whole(t, openArchive(t, dir, ""))
				}
				cache := volume.Cache(t.TempDir())
				openArchive(t, dir, cache).SaveIndex(cache)
				if kept, err := filepath.Glob(string(cache) + "/*.index"); len(kept) != 1 || err != nil {
					t.Fatalf("the cache contains the indexes %v, want one; error %v", kept, err)
				}
				return whole(t, openArchive(t, dir, cache))
			})
		})
	}
}

// splitting returns a function that splits an archive into chunks as d8 does.
func splitting(limit int64) func(t *testing.T, file string) {
	return func(t *testing.T, file string) { layouttest.Split(t, file, limit) }
}

func whole(t testing.TB, a *volume.Archive) *volume.Archive {
	t.Helper()
	if trouble, ok := a.Problem(); ok {
		t.Fatalf("Problem() = %v, want a complete archive", trouble)
	}
	return a
}

// Whatever the archive and its chunks are, each located blob and index must have the content that
// archive/tar reads from the last entry with its name.
func FuzzArchive(f *testing.F) {
	seeds := seedArchives(f)
	for _, s := range seeds {
		f.Add(s, uint16(0))
		f.Add(s, uint16(700))
		f.Add(s[:len(s)*2/3], uint16(0))
	}
	f.Add([]byte("\x1f\x8b\x08compressed"), uint16(0))
	f.Fuzz(func(t *testing.T, data []byte, chunk uint16) {
		if len(data) == 0 || chunk > 0 && len(data)/int(chunk) > 500 {
			return
		}
		dir := t.TempDir()
		file := filepath.Join(dir, "a.tar")
		layouttest.WriteFile(t, file, data)
		if chunk > 0 {
			layouttest.Split(t, file, int64(chunk))
		}
		cache := volume.Cache(t.TempDir())
		a := openArchive(t, dir, cache)
		compare(t, a, data)
		a.SaveIndex(cache)
		compare(t, openArchive(t, dir, cache), data)
	})
}

// compare compares what the volume and archive/tar read from the archive.
func compare(t *testing.T, a *volume.Archive, data []byte) {
	t.Helper()
	want := entriesOf(data)
	listing, err := a.Layouts(context.Background())
	layouttest.Try(t, err)
	for _, l := range listing.Layouts {
		got, err := l.Index.ReadAll(t.Context())
		if w, ok := want[path.Join(l.Path, "index.json")]; err != nil || !ok || !bytes.Equal(got, w) {
			t.Errorf("index of %q: got %d bytes and the error %v; want the %d bytes that archive/tar reads (it found the index: %v)", l.Path, len(got), err, len(w), ok)
		}
		blobs, err := a.Blobs(context.Background(), l.Path)
		layouttest.Try(t, err)
		for _, d := range blobs {
			if _, ok := want[path.Join(l.Path, "blobs", d.Algorithm().String(), d.Encoded())]; !ok {
				t.Errorf("Blobs(%q) contains %s, want only blobs that archive/tar finds", l.Path, d)
			}
		}
	}
	for name, w := range want {
		dir, encoded := path.Split(name)
		dir, alg := path.Split(strings.TrimSuffix(dir, "/"))
		layout, ok := strings.CutSuffix("/"+dir, "/blobs/")
		d := digest.NewDigestFromEncoded(digest.Algorithm(alg), encoded)
		if !ok || d.Validate() != nil {
			continue
		}
		if layout = strings.TrimPrefix(layout, "/"); layout == "" {
			layout = "."
		}
		where, err := a.Locate(t.Context(), layout, d)
		if err != nil {
			continue // the archive may refuse a blob, but must not return wrong content
		}
		if got, err := where.ReadAll(t.Context()); err != nil || !bytes.Equal(got, w) {
			t.Errorf("%s: got %d bytes and the error %v, want the %d bytes that archive/tar reads", name, len(got), err, len(w))
		}
	}
}

// entriesOf returns what archive/tar reads from the last entry of each name. A hard link gets
// the content that its target had at that point of the archive.
func entriesOf(data []byte) map[string][]byte {
	all, regular := map[string][]byte{}, map[string]bool{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err != nil {
			return all
		}
		body, err := io.ReadAll(r)
		if err != nil {
			return all
		}
		name := cleaned(h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			continue
		case tar.TypeLink:
			to, ok := all[cleaned(h.Linkname)]
			if ok = ok && regular[cleaned(h.Linkname)]; ok {
				all[name], regular[name] = to, true
			} else {
				delete(all, name)
			}
			continue
		}
		all[name], regular[name] = body, h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeGNUSparse || h.Typeflag == tar.TypeCont
	}
}

// cleaned returns the path of an entry in the tree. If a name leads out of the tree, cleaned
// returns a path that no file has.
func cleaned(name string) string {
	if slices.Contains(strings.Split(name, "/"), "..") {
		return "../" + name
	}
	return path.Clean(strings.TrimLeft(name, "/"))
}

func seedArchives(f *testing.F) (seeds [][]byte) {
	tree := layouttest.New(f, f.TempDir())
	for _, p := range []string{".", "modules/x"} {
		l := tree.Layout(p)
		l.Tag(l.Image(layouttest.Image{Name: p, LayerSizes: []int64{10}}), "v1")
		l.Write()
	}
	for i, a := range []layouttest.Archive{{}, {Format: tar.FormatPAX, DotSlash: true, Directories: true}} {
		file := filepath.Join(f.TempDir(), fmt.Sprint(i))
		tree.Archive(file, a)
		data, err := os.ReadFile(file)
		layouttest.Try(f, err)
		seeds = append(seeds, data)
	}
	for _, name := range []string{"gnu-sparse-old", "gnu-sparse-0.0", "gnu-sparse-1.0", "bsdtar-sparse", "gnu-hardlinks", "gnu-absolute"} {
		seeds = append(seeds, written(f, name))
	}
	return append(seeds, handmade(f), faulty(f), append(bytes.Clone(seeds[0]), seeds[1]...))
}

// faulty returns an archive with unusual and malformed entries, at least one of each kind. The
// last entry claims to be far longer than the archive.
func faulty(f *testing.F) []byte {
	f.Helper()
	blob := func(what string) string { return "x/blobs/sha256/" + digest.FromString(what).Encoded() }
	special := func(flag byte, name, linkname string) layouttest.Entry {
		return layouttest.Entry{Header: tar.Header{Typeflag: flag, Name: name, Linkname: linkname}}
	}
	oldSparse := layouttest.File(blob("old sparse"), []byte("abc"))
	oldSparse.Patch = map[int]string{156: "S", 386: "00000000000\x0000000000003\x00", 483: "00000001750\x00"}
	newSparse := layouttest.File("GNUSparseFile.0/x", append(append([]byte("1\n0\n3\n"), make([]byte, 506)...), "abc"...))
	contiguous := layouttest.File(blob("contiguous"), []byte("abc"))
	contiguous.Patch = map[int]string{156: "7"}
	ancient := layouttest.File(blob("ancient"), []byte("abc"))
	ancient.Patch = map[int]string{156: "\x00"}
	unknown := layouttest.File(blob("unknown"), []byte("abc"))
	unknown.Patch = map[int]string{156: "V"}
	records := layouttest.File("PaxHeaders/x", []byte("22 GNU.sparse.major=1\n"+"22 GNU.sparse.minor=0\n"+"28 GNU.sparse.realsize=1000\n"))
	records.Patch = map[int]string{156: "x"}
	long := layouttest.File("PaxHeaders/y", fmt.Appendf(nil, "%d path=%s\n", 3000+len("3000 path=\n"), strings.Repeat("n", 3000)))
	long.Patch = map[int]string{156: "x"}
	huge := layouttest.File(blob("huge"), []byte("abc"))
	huge.Patch = map[int]string{124: "\x80\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00"} // a size of 8 GiB, in binary
	file := filepath.Join(f.TempDir(), "faulty.tar")
	layouttest.Tar(f, file,
		special(tar.TypeLink, blob("hard link"), blob("ancient")), special(tar.TypeFifo, blob("pipe"), ""), special(tar.TypeBlock, blob("disk"), ""),
		oldSparse, ancient, records, newSparse, contiguous, unknown, long, layouttest.File("named by the record before", nil),
		layouttest.File(blob("twice"), []byte("one")), layouttest.File("./"+blob("twice"), []byte("two")), layouttest.File("x/.hidden/index.json", []byte("{}")),
		layouttest.File("x/index.json", []byte("{}")), huge)
	data, err := os.ReadFile(file)
	layouttest.Try(f, err)
	return data
}

// handmade returns an archive with one entry of each kind that a scan refuses, and with a few legal ones.
func handmade(f *testing.F) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	d := digest.FromString("x").Encoded()
	for _, h := range []tar.Header{
		{Name: "blobs/sha256/" + d, Size: 1, Typeflag: tar.TypeReg},
		{Name: "blobs/sha256/" + d, Linkname: "y", Typeflag: tar.TypeSymlink},
		{Name: "../blobs/sha256/" + d, Size: 1, Typeflag: tar.TypeReg},
		{Name: "/index.json", Size: 1, Typeflag: tar.TypeReg},
		{Name: strings.Repeat("long/", 60) + "index.json", Size: 1, Typeflag: tar.TypeReg},
		{Name: "device", Typeflag: tar.TypeChar},
		{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": "x"}},
		{Name: "index.json", Size: 1, Typeflag: tar.TypeReg},
	} {
		layouttest.Try(f, w.WriteHeader(&h))
		if h.Size > 0 {
			if _, err := w.Write([]byte("x")); err != nil {
				f.Fatal(err)
			}
		}
	}
	layouttest.Try(f, w.Close())
	return b.Bytes()
}

// Whatever the cache contains, located blobs must have the content that they have in the archive.
func FuzzCachedIndex(f *testing.F) {
	tree := layouttest.New(f, f.TempDir())
	l := tree.Layout("x")
	l.Tag(l.Image(layouttest.Image{Name: "x", LayerSizes: []int64{10}}), "v1")
	l.Write()
	dir, cache := f.TempDir(), volume.Cache(f.TempDir())
	file := filepath.Join(dir, "a.tar")
	tree.Archive(file, layouttest.Archive{})
	data, err := os.ReadFile(file)
	layouttest.Try(f, err)
	openArchive(f, dir, cache).SaveIndex(cache)
	kept, err := filepath.Glob(string(cache) + "/*.index")
	if err != nil || len(kept) != 1 {
		f.Fatal(kept, err)
	}
	index, err := os.ReadFile(kept[0])
	layouttest.Try(f, err)
	f.Add(index)
	f.Add(index[:len(index)/2])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, index []byte) {
		layouttest.WriteFile(t, kept[0], index)
		compare(t, openArchive(t, dir, cache), data)
	})
}

func TestOpenArchiveWithCancelledContext(t *testing.T) {
	dir := t.TempDir()
	tree := layouttest.New(t, t.TempDir())
	tree.Layout("x").Write()
	tree.Archive(filepath.Join(dir, "a.tar"), layouttest.Archive{})
	found, err := volume.FindArchives(dir)
	layouttest.Try(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := volume.OpenArchive(ctx, found.Sets[0], ""); !errors.Is(err, context.Canceled) {
		t.Errorf("OpenArchive: got %v, want context.Canceled", err)
	}
}

// If chunks with a part of a blob are missing, the blob is missing. Its problem, and that of the
// archive, say to copy all of these chunks again.
func TestBlobInMissingChunk(t *testing.T) {
	dir := t.TempDir()
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("install")
	layer := l.Blob("application/octet-stream", bytes.Repeat([]byte("layer "), 2000)).Digest
	l.Write()
	file := filepath.Join(dir, "a.tar")
	tree.Archive(file, layouttest.Archive{})
	chunks := layouttest.Split(t, file, 4000)
	for _, chunk := range chunks[1:3] {
		layouttest.Try(t, os.Remove(chunk))
	}
	a := openArchive(t, dir, "")
	_, err := a.Locate(t.Context(), "install", layer)
	var lost *problem.Error
	if !errors.As(err, &lost) || !errors.Is(err, fs.ErrNotExist) || strings.Join(lost.Problem.Chunks, ", ") != "chunk 0001, chunk 0002" {
		t.Fatalf("Locate of a blob in missing chunks: got %v; want ErrNotExist, and a problem that names the chunks 0001 and 0002", err)
	}
	const both = "chunk 0001 and chunk 0002"
	if p := lost.Problem; p.Chunk() != both || p.Reason != "missing: copy "+both+" again" {
		t.Errorf("problem of a blob in missing chunks: got the chunks %q and the reason %q, want both chunks in both", p.Chunk(), p.Reason)
	}
	if p, _ := a.Problem(); p.Chunk() != both || p.Reason != "chunks 0001 to 0002 are missing" {
		t.Errorf("problem of the archive: got the chunks %q and the reason %q, want both chunks in both", p.Chunk(), p.Reason)
	}
	if have, err := a.Blobs(context.Background(), "install"); len(have) > 0 || err != nil {
		t.Errorf("Blobs: got %v and the error %v, want neither", have, err)
	}
}

// An archive with more layouts than any bundle has is refused before it uses up the memory.
func TestTooManyLayouts(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "a.tar"))
	layouttest.Try(t, err)
	defer f.Close()
	buffered := bufio.NewWriterSize(f, 1<<20)
	w := tar.NewWriter(buffered)
	for i := range 100_002 {
		layouttest.Try(t, w.WriteHeader(&tar.Header{Name: fmt.Sprintf("m%d/index.json", i), Mode: 0o644}))
	}
	layouttest.Try(t, errors.Join(w.Close(), buffered.Flush()))
	if trouble, _ := openArchive(t, dir, "").Problem(); trouble.Kind != problem.Limited || trouble.Reason != "more than 100000 layouts: the rest is not read" {
		t.Errorf("archive with 100,002 layouts: got the problem %+v, want one of kind limited that says where reading stops", trouble)
	}
}
