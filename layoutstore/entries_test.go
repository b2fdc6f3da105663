package layoutstore_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// entriesOf returns the files of a tree as tar entries, sorted by name.
func entriesOf(t *testing.T, tree *layouttest.Tree, format tar.Format) (all []layouttest.Entry) {
	t.Helper()
	have := contentOf(t, tree)
	for _, name := range keys(have) {
		e := layouttest.File(name, have[name])
		e.Format = format
		all = append(all, e)
	}
	return all
}

func TestTarFormats(t *testing.T) {
	tree := buildUsual(t, "")
	l := tree.Layout("sha512")
	for _, tag := range []string{"v1", "v2"} {
		l.Tag(l.Image(layouttest.Image{Name: tag, Algorithm: digest.SHA512, LayerSizes: []int64{10}}), tag)
	}
	l.Write()
	deep := tree.Layout(strings.Repeat("long/", 30) + "name")
	for _, tag := range []string{"v1", "v2"} {
		deep.Tag(deep.Image(layouttest.Image{Name: tag + "deep", LayerSizes: []int64{10}}), tag)
	}
	deep.Write()
	short := []string{".", "install", "modules/x"} // only these names fit into ustar headers
	for name, a := range map[string]layouttest.Archive{
		"gnu":                        {},
		"gnu, dot and directories":   {DotSlash: true, Directories: true},
		"gnu, with directories":      {Directories: true},
		"pax":                        {Format: tar.FormatPAX},
		"pax, dot and directories":   {Format: tar.FormatPAX, DotSlash: true, Directories: true},
		"ustar":                      {Format: tar.FormatUSTAR, Layouts: short},
		"ustar, dot and directories": {Format: tar.FormatUSTAR, Layouts: short, DotSlash: true, Directories: true},
		"ustar, with directories":    {Format: tar.FormatUSTAR, Layouts: short, Directories: true},
	} {
		for _, chunk := range []int64{0, 1000} {
			archive := filepath.Join(t.TempDir(), "platform.tar")
			tree.Archive(archive, a)
			if chunk > 0 {
				layouttest.Split(t, archive, chunk)
			}
			have := contentOf(t, tree)
			for file := range have {
				if a.Layouts != nil && (strings.HasPrefix(file, "sha512/") || strings.HasPrefix(file, "long/")) {
					delete(have, file)
				}
			}
			options := archiveOptions(filepath.Dir(archive))
			options.CacheDir = t.TempDir()
			for range 2 { // the second round uses the cached index
				wantAll(t, openAndSave(t, options), have)
				if t.Failed() {
					t.Fatalf("the test failed with %s and chunks of %d bytes (0: no chunks)", name, chunk)
				}
			}
		}
	}
}

// unservable returns tar entries that cannot be served, by name.
func unservable(seed string) map[string]layouttest.Entry {
	blob := func(what string) string { return "odd/blobs/sha256/" + digest.FromString(seed+what).Encoded() }
	header := func(name string, flag byte, linkname string) layouttest.Entry {
		return layouttest.Entry{Header: tar.Header{Typeflag: flag, Name: name, Linkname: linkname, Mode: 0o777}}
	}
	sparse := layouttest.Entry{
		Header: tar.Header{Typeflag: tar.TypeReg, Name: blob("old sparse"), Mode: 0o644}, Body: []byte("abc"),
		Patch: map[int]string{156: "S", 386: "00000000000\x0000000000003\x00", 483: "00000001750\x00"},
	}
	all := map[string]layouttest.Entry{}
	for _, e := range []layouttest.Entry{
		header(blob("symbolic link"), tar.TypeSymlink, "../../../install/index.json"),
		header("odd/index.json", tar.TypeLink, "install/index.json"),
		header(blob("hard link"), tar.TypeLink, "install/oci-layout"),
		header(blob("character device"), tar.TypeChar, ""),
		header(blob("block device"), tar.TypeBlock, ""),
		header(blob("pipe"), tar.TypeFifo, ""),
		header("elsewhere/link", tar.TypeSymlink, "/etc/passwd"),
		sparse,
		layouttest.File("../escape/index.json", []byte("{}")),
		layouttest.File("install/../../escape/index.json", []byte("{}")),
		layouttest.File("install/..", []byte("{}")),
		layouttest.File("./../"+blob("escape"), []byte("{}")),
	} {
		all[e.Name] = e
	}
	return all
}

// newSparse returns a sparse file as GNU tar writes it in PAX archives (sparse format 1.0).
func newSparse(name string) []layouttest.Entry {
	var records bytes.Buffer
	for _, r := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=" + name, "GNU.sparse.realsize=1000"} {
		n := len(r) + 4 // the length also counts its own two digits, a space and a newline
		if n > 99 {
			n++
		}
		fmt.Fprintf(&records, "%d %s\n", n, r)
	}
	body := make([]byte, 512, 515)
	copy(body, "1\n0\n3\n")
	extended := layouttest.File("PaxHeaders/x", records.Bytes())
	extended.Patch = map[int]string{156: "x"}
	return []layouttest.Entry{extended, {
		Header: tar.Header{Typeflag: tar.TypeReg, Name: "GNUSparseFile.0/x", Mode: 0o644, Format: tar.FormatUSTAR},
		Body:   append(body, "abc"...),
	}}
}

func TestUnservableEntriesAreReported(t *testing.T) {
	tree := buildUsual(t, "")
	good := entriesOf(t, tree, tar.FormatGNU)
	refused := unservable("")
	var entries []layouttest.Entry
	for i, name := range keys(refused) {
		entries = append(entries, refused[name], good[i])
	}
	pax := "odd/blobs/sha256/" + digest.FromString("new sparse").Encoded()
	entries = append(slices.Concat(entries, newSparse(pax)), good[len(refused):]...)
	want := append(keys(refused), pax)
	slices.Sort(want)
	for _, chunk := range []int64{0, 700} {
		archive := filepath.Join(t.TempDir(), "platform.tar")
		layouttest.Tar(t, archive, entries...)
		if chunk > 0 {
			layouttest.Split(t, archive, chunk)
		}
		options := archiveOptions(filepath.Dir(archive))
		options.CacheDir = t.TempDir()
		for range 2 { // the second round uses the cached index
			opened := openAndSave(t, options)
			wantServed(t, opened, contentOf(t, tree), all)
			found := problemsByEntry(t, opened, archive)
			delete(found, "odd") // ignore a problem about the missing index of odd
			if diff := cmp.Diff(want, keys(found)); diff != "" {
				t.Errorf("entries with problems (-want +got): %s", diff)
			}
			for entry, p := range found {
				if p.Kind != layoutstore.Damaged && p.Kind != layoutstore.Limited || p.Reason == "" {
					t.Errorf("entry %s: got the problem %v, want the kind damaged or limited, and a reason", entry, p)
				}
			}
		}
	}
}

// GNU tar writes a label (--label, type V) and, in incremental archives (--listed-incremental, type D), directories
// with lists of names (GNU tar manual, "Basic Tar Format"). None of these is a file, so they are not problems.
func TestLabelAndIncrementalDirectories(t *testing.T) {
	tree := buildUsual(t, "")
	special := func(name string, flag string, body string) layouttest.Entry {
		e := layouttest.File(name, []byte(body))
		e.Patch = map[int]string{156: flag}
		return e
	}
	for _, chunk := range []int64{0, 700} {
		archive := filepath.Join(t.TempDir(), "platform.tar")
		layouttest.Tar(t, archive, slices.Concat([]layouttest.Entry{special("Deckhouse 1.69", "V", ""), special("modules", "D", "Dx\x00\x00"), special("install", "D", "Yindex.json\x00\x00")},
			entriesOf(t, tree, tar.FormatGNU))...)
		if chunk > 0 {
			layouttest.Split(t, archive, chunk)
		}
		options := archiveOptions(filepath.Dir(archive))
		options.CacheDir = t.TempDir()
		for range 2 { // the second round uses the cached index
			opened := openAndSave(t, options)
			wantServed(t, opened, contentOf(t, tree), all)
			if found := problemsOf(opened.Snapshot()); len(found) > 0 {
				t.Errorf("got the problems %v, want none", found)
			}
		}
	}
}

// At most 1,000 entries of an archive are reported, and one more problem says that there are more.
func TestManyUnservableEntries(t *testing.T) {
	var entries []layouttest.Entry
	for i := range 1500 {
		entries = append(entries, layouttest.File(fmt.Sprintf("../%d", i), nil))
	}
	archive := filepath.Join(t.TempDir(), "platform.tar")
	layouttest.Tar(t, archive, entries...)
	options := archiveOptions(archive)
	options.CacheDir = t.TempDir()
	for range 2 { // the second round uses the cached index
		opened := openAndSave(t, options)
		if n := len(problemsOf(opened.Snapshot())); n != 1001 {
			t.Errorf("got %d problems, want 1001", n)
		}
		wantProblem(t, opened, layoutstore.Damaged, archive, "more than 1000 entries are refused: the rest is not listed")
	}
}

// The size in the header of a sparse entry is not the length of its data in the archive. The entry
// after it is still found.
func TestEntryAfterSparseEntry(t *testing.T) {
	long := build(t, "", strings.Repeat("long/", 30)+"name")
	for _, format := range []tar.Format{tar.FormatGNU, tar.FormatPAX} {
		for name, sparse := range map[string][]layouttest.Entry{"old": {unservable("")["odd/blobs/sha256/"+digest.FromString("old sparse").Encoded()]}, "new": newSparse("odd/x")} {
			entries := append(slices.Clone(sparse), entriesOf(t, long, format)...)
			entries = append(entries, sparse...) // add a sparse entry at the end, too
			archive := filepath.Join(t.TempDir(), "platform.tar")
			layouttest.Tar(t, archive, entries...)
			options := archiveOptions(archive)
			options.CacheDir = t.TempDir()
			for i := range 3 {
				opened := openAndSave(t, options)
				wantServed(t, opened, contentOf(t, long), all)
				for _, p := range problemsOf(opened.Snapshot()) {
					if p.Entry == "" {
						t.Errorf("intact archive: got the problem %v, want none", p)
					}
				}
				if t.Failed() {
					t.Fatalf("see the errors above: they occurred with %s sparse entries in the format %s, in round %d", name, format, i)
				}
			}
		}
	}
}

func TestLastEntryOfANameWins(t *testing.T) {
	one, two := build(t, "one", "install"), build(t, "two", "install")
	archive := filepath.Join(t.TempDir(), "platform.tar")
	first, second := contentOf(t, one), contentOf(t, two)
	// The index of the first tree comes between two copies of the second tree's index. The names of
	// the two copies are spelled differently.
	entries := slices.Concat([]layouttest.Entry{layouttest.File("install/index.json", second["install/index.json"])},
		entriesOf(t, one, tar.FormatGNU), entriesOf(t, two, tar.FormatGNU)[:9],
		[]layouttest.Entry{layouttest.File("./install//index.json", second["install/index.json"])})
	layouttest.Tar(t, archive, entries...)
	opened := openWith(t, archiveOptions(archive))
	both := maps.Clone(second)
	delete(first, "install/index.json")
	maps.Copy(both, first)
	wantServed(t, opened, both, all)
	d, err := repository(t, opened, repositoryName("install")).Tag(t.Context(), "v1")
	if err != nil || !strings.Contains(string(second["install/index.json"]), d.Digest.Encoded()) {
		t.Errorf("Tag(v1): got digest %s (error %v), want that of the last index", d.Digest, err)
	}
	// A link also replaces an earlier entry with the same name.
	link := layouttest.Entry{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: "install/index.json", Linkname: "../x"}}
	layouttest.Tar(t, archive, append(entriesOf(t, one, tar.FormatGNU), link)...)
	opened = openWith(t, archiveOptions(archive))
	wantServed(t, opened, contentOf(t, one), none)
	wantProblem(t, opened, layoutstore.Damaged, archive, "link")
}

// Entries of more than 8 GiB are served. Their size does not fit into the field of a plain header.
func TestEntriesLargerThan8GiB(t *testing.T) {
	const large = 9<<30 + 5
	tree := build(t, "", "install")
	for _, format := range []tar.Format{tar.FormatGNU, tar.FormatPAX} {
		d := digest.FromString("content that is not read")
		entry := layouttest.File("install/blobs/sha256/"+d.Encoded(), []byte("begin"))
		entry.Size, entry.Format = large, format
		archive := filepath.Join(t.TempDir(), "platform.tar")
		layouttest.Tar(t, archive, append([]layouttest.Entry{entry}, entriesOf(t, tree, format)...)...)
		options := archiveOptions(archive)
		options.CacheDir = t.TempDir()
		for range 2 {
			opened := openAndSave(t, options)
			wantAll(t, opened, contentOf(t, tree))
			blob, err := repository(t, opened, repositoryName("install")).Blob(context.Background(), d)
			if err != nil || blob.Size != large {
				t.Fatalf("Blob(large entry) = %+v, error %v; want the size of the entry and no error", blob, err)
			}
			f, err := blob.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			begin := make([]byte, 6)
			if _, err := io.ReadFull(f, begin); err != nil || string(begin) != "begin\x00" {
				t.Errorf("start of the large entry: got %q and the error %v, want \"begin\" and a zero byte", begin, err)
			}
			if _, err := f.Seek(-3, io.SeekEnd); err != nil {
				t.Error(err)
			}
			if end, err := io.ReadAll(f); err != nil || string(end) != "\x00\x00\x00" {
				t.Errorf("end of the large entry: got %q and the error %v, want three zero bytes", end, err)
			}
		}
	}
}

// Entries that belong to no layout are ignored, and are no problem.
func TestEntriesOutsideOfLayouts(t *testing.T) {
	tree := buildUsual(t, "")
	entries := append([]layouttest.Entry{
		{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", Format: tar.FormatPAX, PAXRecords: map[string]string{"comment": "by git"}}},
		layouttest.File("README.md", []byte("read me")),
		layouttest.File("install/blobs/sha256/no-digest", []byte("x")),
		layouttest.File("install/blobs/README", []byte("x")),
		layouttest.File("install/blobs/md5/d41d8cd98f00b204e9800998ecf8427e", nil),
		layouttest.File("install/.index.json", []byte("x")),
		layouttest.File(".hidden/index.json", []byte("x")),
		layouttest.File("install/"+strings.Repeat("very-long/", 20)+"name", []byte("x")),
		{Header: tar.Header{Typeflag: tar.TypeReg, Name: "café", Format: tar.FormatPAX}, Body: []byte("x")},
	}, entriesOf(t, tree, tar.FormatGNU)...)
	archive := filepath.Join(t.TempDir(), "platform.tar")
	layouttest.Tar(t, archive, entries...)
	wantAll(t, openWith(t, archiveOptions(archive)), contentOf(t, tree))
}

func TestEntryWithAVeryLongName(t *testing.T) {
	tree := buildUsual(t, "")
	long := layouttest.File(strings.Repeat("a/", 200_000)+"index.json", []byte("{}"))
	long.Format = tar.FormatPAX
	archive := filepath.Join(t.TempDir(), "platform.tar")
	layouttest.Tar(t, archive, append([]layouttest.Entry{long}, entriesOf(t, tree, tar.FormatGNU)...)...)
	opened := openWith(t, archiveOptions(archive))
	wantServed(t, opened, contentOf(t, tree), all)
	found := problemsOf(opened.Snapshot())
	if len(found) != 1 || found[0].Path != archive || len(found[0].Entry) > 1<<16 {
		t.Errorf("got %d problems, want one, of the archive, with a shortened entry name", len(found))
	}
}

// The path of a layout in an archive may be an illegal repository name. This is a problem.
func TestLayoutsWithIllegalNames(t *testing.T) {
	tree := buildUsual(t, "")
	entries := append([]layouttest.Entry{layouttest.File("Modules/X Y/index.json", []byte(`{"schemaVersion":2,"manifests":[]}`))},
		entriesOf(t, tree, tar.FormatGNU)...)
	archive := filepath.Join(t.TempDir(), "platform.tar")
	layouttest.Tar(t, archive, entries...)
	opened := openWith(t, archiveOptions(archive))
	wantServed(t, opened, contentOf(t, tree), all)
	found := problemsOf(opened.Snapshot())
	if len(found) != 1 || found[0].Kind != layoutstore.IllegalName || found[0].Path != archive || found[0].Entry != "Modules/X Y" {
		t.Errorf("got the problems %v, want one about the illegal name of the layout Modules/X Y", found)
	}
}

func TestCompressedArchivesAreReported(t *testing.T) {
	tree := buildUsual(t, "")
	plain := layouttest.ReadFile(t, pack(t, tree))
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	compressed := map[string][]byte{
		"gzip":  gz.Bytes(),
		"zstd":  append([]byte("\x28\xb5\x2f\xfd"), plain...),
		"xz":    append([]byte("\xfd7zXZ\x00"), plain...),
		"bzip2": append([]byte("BZh91AY&SY"), plain...),
		"lz4":   append([]byte("\x04\x22\x4d\x18"), plain...),
	}
	for kind, data := range compressed {
		for _, n := range []int{len(data), 700, 10} {
			for _, name := range []string{"platform.tar", "platform.tar.gz", "platform.tgz", "platform.tar.zst", "platform.tar.xz", "platform.tar.0000.chunk"} {
				dir := t.TempDir()
				layouttest.WriteFile(t, filepath.Join(dir, name), data[:n])
				other := build(t, "other", "other")
				other.Archive(filepath.Join(dir, "other.tar"), layouttest.Archive{})
				opened := openWith(t, archiveOptions(dir))
				wantServed(t, opened, contentOf(t, other), all)
				if !slices.ContainsFunc(problemsOf(opened.Snapshot()), func(p layoutstore.Problem) bool {
					return strings.HasPrefix(filepath.Base(p.Path), "platform.") && strings.Contains(p.Reason, "compressed") && strings.Contains(p.Reason, "unpack")
				}) {
					t.Errorf("%d bytes of %s data in %s: want a problem that contains \"compressed\" and \"unpack\", got the problems %v", n, kind, name, problemsOf(opened.Snapshot()))
				}
			}
		}
	}
}
