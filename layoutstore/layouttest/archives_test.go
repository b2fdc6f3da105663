package layouttest_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// entries returns the headers of an archive in their order, and the contents of its files by name.
func entries(t *testing.T, archive string) (headers []*tar.Header, files map[string]string) {
	t.Helper()
	files = map[string]string{}
	r := tar.NewReader(bytes.NewReader(layouttest.ReadFile(t, archive)))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return headers, files
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		headers = append(headers, h)
		if h.Typeflag == tar.TypeReg {
			files[h.Name] = string(body)
		}
	}
}

func names(headers []*tar.Header) (all []string) {
	for _, h := range headers {
		all = append(all, h.Name)
	}
	return all
}

// nest makes a tree with a small layout at each of the paths.
func nest(t *testing.T, paths ...string) *layouttest.Tree {
	t.Helper()
	tree := layouttest.New(t, t.TempDir())
	for _, path := range paths {
		l := tree.Layout(path)
		l.Tag(l.Image(layouttest.Image{Name: path, Layers: [][]byte{[]byte(path)}}), "v1")
		l.Write()
	}
	return tree
}

func TestArchiveContainsCompleteTree(t *testing.T) {
	dir := t.TempDir()
	tree := buildAll(t, dir)
	for name, a := range map[string]layouttest.Archive{
		"GNU":         {},
		"PAX":         {Format: tar.FormatPAX},
		"dot":         {DotSlash: true},
		"directories": {Directories: true, DotSlash: true, Format: tar.FormatPAX},
	} {
		archive := filepath.Join(t.TempDir(), "all.tar")
		tree.Archive(archive, a)
		headers, packed := entries(t, archive)
		want := map[string]string{}
		for path, data := range layouttest.ReadFiles(t, dir) {
			if a.DotSlash {
				path = "./" + path
			}
			want[path] = data
		}
		if diff := cmp.Diff(want, packed); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		hasDirectories := slices.ContainsFunc(headers, func(h *tar.Header) bool { return h.Typeflag == tar.TypeDir })
		if hasDirectories != a.Directories {
			t.Errorf("%s: the archive contains directories: %v, want %v", name, hasDirectories, a.Directories)
		}
	}
}

// Archive writes the same headers as d8, in the same order. A golden digest makes every change of
// the archive visible.
func TestArchiveHasFormatOfD8(t *testing.T) {
	archive := filepath.Join(t.TempDir(), "new/all.tar")
	buildAll(t, t.TempDir()).Archive(archive, layouttest.Archive{})
	headers, _ := entries(t, archive)
	if len(headers) != 15 {
		t.Fatalf("got %d entries, want 15", len(headers))
	}
	for _, h := range headers {
		long := len(h.Name) > 100 // a GNU header differs from a ustar header only if the name is long
		if h.Mode != 0o777 || h.ModTime.Unix() != 0 || h.Uid != 0 || h.Uname != "" || long && h.Format != tar.FormatGNU {
			t.Errorf("got the header %+v; want mode 0777, time 0, no owner, and GNU format if the name is long", h)
		}
	}
	if got := names(headers); got[len(got)-1] != "oci-layout" || !slices.Contains(got, "modules/x/index.json") ||
		slices.Index(got, "index.json") < slices.IndexFunc(got, func(s string) bool { return strings.HasPrefix(s, "blobs/") }) {
		t.Errorf("got the entries %q, want each layout's blobs before its index.json", got)
	}
	got := digest.FromBytes(layouttest.ReadFile(t, archive))
	if want := digest.Digest("sha256:88cd6655b1e0ef42af86d8d37abf765291c5b0a3f9e202ef923802fd7d51fd52"); got != want {
		t.Errorf("the archive has the digest %s, want %s", got, want)
	}
}

func TestArchiveOfSelectedLayouts(t *testing.T) {
	tree := nest(t, ".", "modules/x", "modules/x/release", "modules/blobs/y")
	for _, test := range []struct {
		archive layouttest.Archive
		want    []string // names of all entries except blobs
	}{
		{layouttest.Archive{Layouts: []string{"."}}, []string{"index.json", "oci-layout"}},
		{layouttest.Archive{Layouts: []string{"modules/blobs/y"}}, []string{"modules/blobs/y/index.json", "modules/blobs/y/oci-layout"}},
		{layouttest.Archive{Layouts: []string{"modules/x/release", "modules/x"}, Strip: "modules/x"},
			[]string{"index.json", "oci-layout", "release/index.json", "release/oci-layout"}},
		{layouttest.Archive{Layouts: []string{"modules/x/release"}, Strip: "modules/x", Directories: true, DotSlash: true},
			[]string{"./", "./release/", "./release/blobs/", "./release/blobs/sha256/", "./release/index.json", "./release/oci-layout"}},
	} {
		archive := filepath.Join(t.TempDir(), "some.tar")
		tree.Archive(archive, test.archive)
		headers, packed := entries(t, archive)
		got := slices.DeleteFunc(names(headers), func(name string) bool {
			return strings.Contains(name, "blobs/sha256/") && !strings.HasSuffix(name, "/")
		})
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%+v: %s", test.archive, diff)
		}
		if want := 5 * len(test.archive.Layouts); len(packed) != want {
			t.Errorf("%+v: the archive contains %d files, want %d", test.archive, len(packed), want)
		}
	}
}

func TestArchiveErrors(t *testing.T) {
	dir := t.TempDir()
	for name, a := range map[string]layouttest.Archive{
		"missing layout":                         {Layouts: []string{".", "nowhere"}},
		"file outside of the stripped directory": {Strip: "modules"},
		"name too long for the ustar format":     {Format: tar.FormatUSTAR},
	} {
		tb := &recorder{}
		func() {
			defer func() { _ = recover() }()
			buildAll(tb, dir).Archive(filepath.Join(t.TempDir(), "a.tar"), a)
		}()
		if tb.message == "" {
			t.Errorf("%s: Archive returned no error, want one", name)
		}
	}
}

func TestBundleHasOneArchivePerProduct(t *testing.T) {
	tree := nest(t, ".", "install", "install-standalone", "release-channel", "installer", "security/trivy-db", "security/trivy-bdu",
		"modules/x", "modules/x/release", "modules/x/extra/y", "packages/p", "packages/p/version", "packages/q/version",
		"deckhouse-cli/plugins/s")
	dir := t.TempDir()
	tree.Bundle(dir)
	got := map[string]string{}
	for file := range layouttest.ReadFiles(t, dir) {
		headers, _ := entries(t, filepath.Join(dir, file))
		var layouts []string
		for _, name := range names(headers) {
			if path, ok := strings.CutSuffix("/"+name, "/index.json"); ok {
				layouts = append(layouts, strings.TrimPrefix(path, "/"))
			}
		}
		slices.Sort(layouts)
		got[file] = strings.Join(layouts, " ")
	}
	want := map[string]string{
		"platform.tar":         " install install-standalone release-channel",
		"installer.tar":        "installer",
		"security.tar":         "security/trivy-bdu security/trivy-db",
		"module-x.tar":         "modules/x modules/x/extra/y modules/x/release",
		"package-p.tar":        "packages/p packages/p/version",
		"package-q.tar":        "packages/q/version",
		"package-versions.tar": "packages/p/version packages/q/version",
		"plugin-s.tar":         "deckhouse-cli/plugins/s",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// writeDigits writes a file of 1000 bytes, for tests that cut it into chunks.
func writeDigits(t *testing.T) (archive, content string) {
	t.Helper()
	archive, content = filepath.Join(t.TempDir(), "a.tar"), strings.Repeat("0123456789", 100)
	if err := os.WriteFile(archive, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return archive, content
}

func readChunks(t *testing.T, chunks []string) (all []string) {
	t.Helper()
	for _, chunk := range chunks {
		all = append(all, string(layouttest.ReadFile(t, chunk)))
	}
	return all
}

func TestSplitArchiveLikeD8(t *testing.T) {
	unequal, empty := false, false
	for limit := int64(1); limit < 1100; limit += 7 {
		archive, content := writeDigits(t)
		parts := readChunks(t, layouttest.Split(t, archive, limit))
		for i, part := range parts {
			if last := i == len(parts)-1; last != (int64(len(part)) < limit) {
				t.Errorf("chunk %d of %d: got %d bytes, want at least the limit of %d, or less in the last chunk", i, len(parts), len(part), limit)
			}
			unequal = unequal || i > 0 && i < len(parts)-1 && len(part) != len(parts[0])
		}
		empty = empty || parts[len(parts)-1] == ""
		if strings.Join(parts, "") != content {
			t.Errorf("Split: got %d chunks with the limit of %d bytes, want chunks that make up the archive", len(parts), limit)
		}
	}
	if !unequal || !empty {
		t.Errorf("want chunks of unequal sizes (found: %v) and an empty last chunk (found: %v)", unequal, empty)
	}
}

func TestCutArchiveAtOffsets(t *testing.T) {
	archive, content := writeDigits(t)
	want := []string{"", content[:7], "", content[7:]}
	if diff := cmp.Diff(want, readChunks(t, layouttest.CutAt(t, archive, 0, 7, 7))); diff != "" {
		t.Error(diff)
	}
}

func TestCutArchiveIntoEqualChunks(t *testing.T) {
	for _, size := range []int64{1, 999, 1000, 1001, 5000} {
		archive, content := writeDigits(t)
		chunks := layouttest.Cut(t, archive, size)
		parts := readChunks(t, chunks)
		for i, part := range parts {
			if int64(len(part)) != size && i != len(chunks)-1 || part == "" {
				t.Errorf("chunk %d: got %d bytes, want the requested size, or less in the last chunk", i, len(part))
			}
		}
		if strings.Join(parts, "") != content {
			t.Errorf("Cut: got %d chunks of %d bytes, want chunks that make up the archive", len(chunks), size)
		}
		if got, want := filepath.Base(chunks[0]), "a.tar.0000.chunk"; got != want {
			t.Errorf("the first chunk is %s, want %s", got, want)
		}
		left := slices.Collect(maps.Keys(layouttest.ReadFiles(t, filepath.Dir(archive))))
		if len(left) != len(chunks) {
			t.Errorf("after Cut: got %d files, want only the chunks; got the names %q", len(left), left)
		}
	}
}

func TestTarWritesValidArchive(t *testing.T) {
	const large = 9 << 30
	archive := filepath.Join(t.TempDir(), "a.tar")
	long := strings.Repeat("long/", 60) + "name"
	layouttest.Tar(t, archive,
		layouttest.Entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: "large", Size: large}, Body: []byte("begin")},
		layouttest.Entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: "large pax", Size: large, Format: tar.FormatPAX}},
		layouttest.File(long, []byte("gnu")),
		layouttest.Entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: long, Format: tar.FormatPAX}, Body: []byte("pax")},
		layouttest.Entry{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: "link", Linkname: "../x"}},
		layouttest.Entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: "odd"}, Body: []byte("odd"), Patch: map[int]string{156: "Z"}},
	)
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var got []string
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body := make([]byte, 5)
		n, _ := r.Read(body)
		got = append(got, string(h.Typeflag)+" "+h.Name+" "+string(body[:n]))
		if want := int64(large); strings.HasPrefix(h.Name, "large") && h.Size != want {
			t.Errorf("entry %s: got a size of %d bytes, want the requested size", h.Name, h.Size)
		}
	}
	want := []string{"0 large begin", "0 large pax \x00\x00\x00\x00\x00", "0 " + long + " gnu", "0 " + long + " pax", "2 link ", "Z odd odd"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	places := layouttest.Places(t, archive)
	info, err := f.Stat()
	layouttest.Try(t, err)
	if len(places) != len(want) || places[len(places)-1].End+1024 != info.Size() {
		t.Errorf("got the places %v in an archive of %d bytes, want one per entry, up to the end of the archive", places, info.Size())
	}
	for i, p := range places[1:] {
		if p.Header != places[i].End || p.Body <= p.Header {
			t.Errorf("got the place %+v, want its header at the end of the entry before, and its body after its header", p)
		}
	}
}
