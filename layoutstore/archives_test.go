package layoutstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// root is the root in tests of archives. It is not empty, so the root layout has a name.
const root = "r"

func archiveOptions(sources ...string) layoutstore.Options {
	return layoutstore.Options{Sources: sources, Roots: []string{root}, Indexes: []string{""}}
}

// build makes a tree with two images per layout. Each image has a layer that is smaller than the
// chunks of the tests, and one that is larger.
func build(t *testing.T, seed string, layouts ...string) *layouttest.Tree {
	t.Helper()
	tree := layouttest.New(t, t.TempDir())
	for _, p := range layouts {
		l := tree.Layout(p)
		for _, tag := range []string{"v1", "v2"} {
			l.Tag(l.Image(layouttest.Image{Name: seed + p + tag, LayerSizes: []int64{100, 7000}}), tag)
		}
		l.Write()
	}
	return tree
}

func buildUsual(t *testing.T, seed string) *layouttest.Tree {
	t.Helper()
	return build(t, seed, ".", "install", "modules/x")
}

// pack packs a tree into the archive platform.tar in a new directory.
func pack(t *testing.T, tree *layouttest.Tree) (archive string) {
	t.Helper()
	archive = filepath.Join(t.TempDir(), "platform.tar")
	tree.Archive(archive, layouttest.Archive{})
	return archive
}

// content is the content of all files in an archive or a tree, by name.
type content map[string][]byte

func contentOf(t *testing.T, tree *layouttest.Tree) content {
	t.Helper()
	all := content{}
	err := filepath.WalkDir(tree.Dir(), func(file string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(tree.Dir(), file)
		if err != nil {
			return err
		}
		all[filepath.ToSlash(rel)], err = os.ReadFile(file)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// blobAt returns the layout and the digest of a blob file. ok is false if the file is no blob.
func blobAt(name string) (layout string, d digest.Digest, ok bool) {
	parts := strings.Split(name, "/")
	n := len(parts)
	if n < 3 || parts[n-3] != "blobs" {
		return "", "", false
	}
	return path.Clean(strings.Join(parts[:n-3], "/")), digest.NewDigestFromEncoded(digest.Algorithm(parts[n-2]), parts[n-1]), true
}

func repositoryName(layout string) string {
	return path.Join(root, layout)
}

// readBlob reads a complete blob. It fails the test if the content does not match the digest,
// because even from a damaged archive, wrong content must never be served.
func readBlob(t *testing.T, tree *layoutstore.Tree, name string, d digest.Digest) error {
	t.Helper()
	r, err := tree.Snapshot().Repository(name)
	if err != nil {
		return err
	}
	return readFrom(t, r, d)
}

func readFrom(t *testing.T, r *layoutstore.Repository, d digest.Digest) error {
	t.Helper()
	blob, err := r.Blob(context.Background(), d)
	if err != nil {
		return err
	}
	f, err := blob.Open(t.Context())
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	if int64(len(got)) != blob.Size || d.Algorithm().FromBytes(got) != d {
		t.Errorf("repository %s: got %d bytes of wrong content for the blob %s, want content that matches its size and digest", r.Path(), len(got), d)
	}
	return nil
}

// wantServed checks that a blob is served if and only if intact returns true for its file and for
// the index of its layout. Each layout with an intact index must have the tags v1 and v2.
func wantServed(t *testing.T, tree *layoutstore.Tree, have content, intact func(name string) bool) {
	t.Helper()
	var want []string
	for name := range have {
		index := path.Base(name) == "index.json"
		if index && intact(name) {
			for _, tag := range []string{"v1", "v2"} {
				want = append(want, repositoryName(path.Dir(name))+":"+tag)
			}
		}
		layout, d, ok := blobAt(name)
		if !ok {
			continue
		}
		err := readBlob(t, tree, repositoryName(layout), d)
		if should := intact(name) && intact(path.Join(layout, "index.json")); should != (err == nil) {
			t.Errorf("reading the blob %s: got error %v; want success: %v", name, err, should)
		}
	}
	slices.Sort(want)
	got := served(t, tree)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("served tags (-want +got): %s", diff)
	}
}

func all(string) bool  { return true }
func none(string) bool { return false }

// wantAll checks that all files are served, and that the tree has no problems.
func wantAll(t *testing.T, tree *layoutstore.Tree, have content) {
	t.Helper()
	wantServed(t, tree, have, all)
	if found := allProblems(t, tree); len(found) > 0 {
		t.Errorf("got the problems %v, want none", found)
	}
}

func allProblems(t *testing.T, tree *layoutstore.Tree) []layoutstore.Problem {
	t.Helper()
	s := tree.Snapshot()
	if err := s.Check(context.Background(), 1); err != nil {
		t.Fatal(err)
	}
	return problemsOf(s)
}

// wantProblem checks that archive has a problem of this kind whose reason contains the text reason.
func wantProblem(t *testing.T, tree *layoutstore.Tree, kind layoutstore.Kind, archive, reason string) {
	t.Helper()
	found := problemsOf(tree.Snapshot())
	if !slices.ContainsFunc(found, func(p layoutstore.Problem) bool {
		return p.Kind == kind && p.Path == archive && strings.Contains(p.Reason, reason)
	}) {
		t.Errorf("want a problem of kind %q of the file %s whose reason contains %q, got the problems %v", kind, archive, reason, found)
	}
}

func stateOf(t *testing.T, tree *layoutstore.Tree, path string) string {
	t.Helper()
	sources := tree.Snapshot().Sources()
	i := slices.IndexFunc(sources, func(s layoutstore.SourceStatus) bool { return s.Path == path })
	if i < 0 {
		t.Fatalf("want a status of the source %s, got only %+v", path, sources)
	}
	return sources[i].State
}

// readableWithout returns a function that reports whether an entry can be read if the bytes between
// two offsets are missing. A reader finds each header only through the previous one.
func readableWithout(places []layouttest.Place, have content, from, to int64) func(string) bool {
	whole := map[string]bool{}
	for _, p := range places {
		if p.Header < to && p.Body > from {
			break
		}
		end := p.Body + int64(len(have[p.Name]))
		whole[p.Name] = end <= from || p.Body >= to
	}
	return func(name string) bool { return whole[name] }
}

const never = int64(1) << 62

func size(t *testing.T, file string) int64 {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// makeOld sets the modification times of files to yesterday, so that a scan does not wait.
func makeOld(t *testing.T, files ...string) {
	t.Helper()
	for _, file := range files {
		long := time.Now().Add(-24 * time.Hour)
		if err := os.Chtimes(file, long, long); err != nil {
			t.Fatal(err)
		}
	}
}

// withoutChunk moves a chunk away, calls f, and moves the chunk back.
func withoutChunk(t *testing.T, chunks []string, i int, f func()) {
	t.Helper()
	away := filepath.Join(t.TempDir(), "away")
	if err := os.Rename(chunks[i], away); err != nil {
		t.Fatal(err)
	}
	before := t.Failed()
	f()
	if t.Failed() && !before {
		t.Fatalf("see the errors above: they occurred without the chunk %s", chunks[i])
	}
	if err := os.Rename(away, chunks[i]); err != nil {
		t.Fatal(err)
	}
}

func TestTruncatedArchiveServesIntactEntries(t *testing.T) {
	tree := buildUsual(t, "")
	have := contentOf(t, tree)
	archive := pack(t, tree)
	places := layouttest.Places(t, archive)
	data := layouttest.ReadFile(t, archive)
	cuts := []int64{0, 1, int64(len(data)) - 1, int64(len(data)) - 512, int64(len(data)) - 1024}
	for i, p := range places {
		within := []int64{p.Header, p.Header + 1, p.Header + 511, p.Body, p.Body + 1, p.Body + int64(len(have[p.Name])), p.End - 1}
		for range rounds(2, len(within)) { // truncate at random offsets in each entry
			cuts = append(cuts, within[i%len(within)])
			i++
		}
	}
	slices.Sort(cuts)
	for _, n := range slices.Compact(cuts) {
		layouttest.WriteFile(t, archive, data[:n])
		opened := openWith(t, archiveOptions(archive))
		wantServed(t, opened, have, readableWithout(places, have, n, never))
		wantProblem(t, opened, layoutstore.Incomplete, archive, "")
		if t.Failed() {
			t.Fatalf("see the errors above: they occurred with an archive truncated to %d of %d bytes", n, len(data))
		}
	}
}

func TestPaddedArchiveIsComplete(t *testing.T) {
	tree := buildUsual(t, "")
	archive := pack(t, tree)
	// GNU tar pads an archive with zeros to a multiple of 10,240 bytes.
	if err := os.Truncate(archive, (size(t, archive)+10239)/10240*10240); err != nil {
		t.Fatal(err)
	}
	wantAll(t, openWith(t, archiveOptions(archive)), contentOf(t, tree))
	layouttest.Cut(t, archive, 512)
	wantAll(t, openWith(t, archiveOptions(filepath.Dir(archive))), contentOf(t, tree))
}

func TestFlippedBitInAHeaderIsReported(t *testing.T) {
	tree := buildUsual(t, "")
	have := contentOf(t, tree)
	archive := pack(t, tree)
	places := layouttest.Places(t, archive)
	data := layouttest.ReadFile(t, archive)
	for _, p := range places {
		// The flipped bits are in the name, the size, the checksum and the type.
		for _, at := range []int64{p.Header, p.Body - 512 + 130, p.Body - 512 + 150, p.Body - 512 + 156} {
			flipped := slices.Clone(data)
			flipped[at] ^= 4
			layouttest.WriteFile(t, archive, flipped)
			opened := openWith(t, archiveOptions(archive))
			wantServed(t, opened, have, readableWithout(places, have, p.Header, never))
			wantProblem(t, opened, layoutstore.Damaged, archive, "")
			if t.Failed() {
				t.Fatalf("see the errors above: they occurred with a flipped bit at offset %d, in the header of %s", at, p.Name)
			}
		}
	}
}

func TestFlippedBitInAnIndexIsReported(t *testing.T) {
	tree := buildUsual(t, "")
	have := contentOf(t, tree)
	archive := pack(t, tree)
	data := layouttest.ReadFile(t, archive)
	for _, p := range layouttest.Places(t, archive) {
		if path.Base(p.Name) != "index.json" {
			continue
		}
		flipped := slices.Clone(data)
		flipped[p.Body] ^= 1
		layouttest.WriteFile(t, archive, flipped)
		opened := openWith(t, archiveOptions(archive))
		wantServed(t, opened, have, func(name string) bool { return name != p.Name })
		found := problemsOf(opened.Snapshot())
		if len(found) != 1 || found[0].Kind != layoutstore.Damaged || found[0].Path != archive || found[0].Entry != p.Name {
			t.Errorf("flipped bit in %s: got problems %v, want one problem of this index", p.Name, found)
		}
	}
}

func TestArchiveTakesPrecedenceOverItsChunks(t *testing.T) {
	one, two := buildUsual(t, "one"), buildUsual(t, "two")
	archive := pack(t, one)
	layouttest.Split(t, archive, 20000)
	two.Archive(archive, layouttest.Archive{})
	opened := openWith(t, archiveOptions(filepath.Dir(archive)))
	wantServed(t, opened, contentOf(t, two), all)
	wantProblem(t, opened, layoutstore.Conflict, archive, "chunk")
	if found := allProblems(t, opened); len(found) != 1 {
		t.Errorf("got the problems %v, want only the conflict with the chunks", found)
	}
}

func TestTwoChunksWithTheSameNumber(t *testing.T) {
	tree := buildUsual(t, "")
	archive := pack(t, tree)
	layouttest.Split(t, archive, 20000)
	other := archive + ".00001.chunk"
	layouttest.WriteFile(t, other, []byte("something else"))
	opened := openWith(t, archiveOptions(filepath.Dir(archive)))
	wantServed(t, opened, contentOf(t, tree), all)
	if found := allProblems(t, opened); len(found) != 1 || found[0].Path != other {
		t.Errorf("got the problems %v, want only one, of the second file with the chunk number 1", found)
	}
}

func TestMoreThanTenThousandChunks(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("install")
	for _, tag := range []string{"v1", "v2"} {
		l.Tag(l.Image(layouttest.Image{Name: tag, LayerSizes: []int64{400}}), tag)
	}
	l.Write()
	archive := pack(t, tree)
	at := make([]int64, 9500) // offsets of cuts: zeros make empty chunks, which are cheap to read
	for n := int64(0); n < size(t, archive); n += 8 {
		at = append(at, n)
	}
	if chunks := layouttest.CutAt(t, archive, at...); len(chunks) <= 10000 {
		t.Fatalf("got only %d chunks, want numbers with five digits", len(chunks))
	}
	wantAll(t, openWith(t, archiveOptions(filepath.Dir(archive))), contentOf(t, tree))
}

func TestTwoArchivesAreMerged(t *testing.T) {
	dir := t.TempDir()
	tags := map[string]map[string]digest.Digest{}
	for _, from := range []struct {
		file string
		tags []string
	}{
		{"a.tar", []string{"v1", "v2", "same"}}, {"b.tar", []string{"v2", "v3", "same"}}, {"", []string{"v3", "v4", "same"}},
	} {
		tree := layouttest.New(t, t.TempDir())
		if from.file == "" {
			tree = layouttest.New(t, dir)
		}
		l := tree.Layout("install")
		tags[from.file] = map[string]digest.Digest{}
		for _, tag := range from.tags {
			seed := from.file
			if tag == "same" {
				seed = ""
			}
			d := l.Image(layouttest.Image{Name: seed + tag, LayerSizes: []int64{100}})
			l.Tag(d, tag)
			tags[from.file][tag] = d.Digest
		}
		l.Write()
		if from.file != "" {
			tree.Archive(filepath.Join(dir, from.file), layouttest.Archive{})
		}
	}
	opened := openWith(t, archiveOptions(dir))
	r := repository(t, opened, repositoryName("install"))
	for tag, want := range map[string]digest.Digest{
		"v1": tags["a.tar"]["v1"], "v2": tags["b.tar"]["v2"], "v3": tags[""]["v3"], "v4": tags[""]["v4"], "same": tags[""]["same"],
	} {
		if d, err := r.Tag(t.Context(), tag); d.Digest != want {
			t.Errorf("the tag %s has the digest %s (error %v), want %s", tag, d.Digest, err, want)
		}
	}
	if got, _ := r.Tags("", -1); len(got) != 5 {
		t.Errorf("got the tags %v, want five", got)
	}
	for _, loser := range []digest.Digest{tags["a.tar"]["v2"], tags["b.tar"]["v3"]} {
		if _, err := r.Manifest(context.Background(), loser); err != nil {
			t.Errorf("Manifest(digest of a manifest whose tag was overridden): got error %v, want none", err)
		}
	}
	var conflicts []string
	for _, p := range allProblems(t, opened) {
		conflicts = append(conflicts, fmt.Sprintf("%s %s %s %s %s", p.Kind, p.Path, p.Entry, p.Repository, p.Tag()))
	}
	want := []string{
		"conflict " + filepath.Join(dir, "b.tar") + " install r/install v2",
		"conflict " + filepath.Join(dir, "install") + "  r/install v3",
	}
	if diff := cmp.Diff(want, conflicts); diff != "" {
		t.Error(diff)
	}
}

// All layouts of a bundle are served. Two of its archives contain versions of packages.
func TestAllArchivesOfABundleAreServed(t *testing.T) {
	tree := build(t, "", ".", "install", "installer", "security/trivy-db", "modules/x", "modules/x/release",
		"packages/p", "packages/p/version", "packages/q/version", "deckhouse-cli/plugins/s")
	dir := t.TempDir()
	tree.Bundle(dir)
	wantAll(t, openWith(t, archiveOptions(dir)), contentOf(t, tree))
	var sources []string
	archives, err := filepath.Glob(filepath.Join(dir, "*.tar"))
	if err != nil {
		t.Fatal(err)
	}
	for i, archive := range archives {
		if i%2 == 0 {
			archive = layouttest.Split(t, archive, 10000)[0]
		}
		sources = append(sources, archive)
	}
	if len(sources) != 8 {
		t.Fatalf("the bundle has %d archives, want 8", len(sources))
	}
	wantAll(t, openWith(t, archiveOptions(dir)), contentOf(t, tree))
	wantAll(t, openWith(t, archiveOptions(sources...)), contentOf(t, tree))
}

func TestArchiveNamesOfOldBundles(t *testing.T) {
	for _, test := range []struct {
		archive, strip string
		layouts        []string
		moved          bool
	}{
		{"module-x.tar", "modules/x", []string{"modules/x", "modules/x/release", "modules/x/extra/y"}, true},
		{"module-x.tar", "modules/x", []string{"modules/x/release"}, true},
		{"module-x-y.tar", "modules/x-y", []string{"modules/x-y", "modules/x-y/extra/y"}, true},
		{"module-x.tar", "modules/x", []string{"modules/x", "modules/x/release", "modules/x/install"}, false},
		{"module-x.tar", "modules/x", []string{"modules/x", "modules/x/release/y"}, false},
		{"module-x.tar", "", []string{"modules/x", "modules/x/release"}, false},
		{"platform.tar", "modules/x", []string{"modules/x", "modules/x/release"}, false},
		{"security.tar", "security", []string{"security/trivy-db", "security/trivy-bdu"}, true},
		{"security-ee.tar", "security", []string{"security/trivy-db"}, true},
		{"security.tar", "security", []string{"security/trivy-db", "security/other"}, false},
		{"security.tar", "", []string{"security/trivy-db"}, false},
		{"platform.tar", "security", []string{"security/trivy-db"}, false},
	} {
		for _, chunk := range []int64{0, 7000} {
			tree := build(t, "", test.layouts...)
			archive := filepath.Join(t.TempDir(), test.archive)
			tree.Archive(archive, layouttest.Archive{Layouts: test.layouts, Strip: test.strip})
			if chunk > 0 {
				layouttest.Split(t, archive, chunk)
			}
			have := contentOf(t, tree)
			if !test.moved {
				have = stripped(have, test.strip)
			}
			wantAll(t, openWith(t, archiveOptions(filepath.Dir(archive))), have)
			if t.Failed() {
				t.Fatalf("see the errors above: they occurred in the case %+v", test)
			}
		}
	}
}

// stripped returns a copy of have. It removes the directory strip from the start of each name.
func stripped(have content, strip string) content {
	bare := content{}
	for name, data := range have {
		bare[strings.TrimPrefix(name, strip+"/")] = data
	}
	return bare
}

func TestOtherFilesAreIgnored(t *testing.T) {
	tree := buildUsual(t, "")
	archive := pack(t, tree)
	dir := filepath.Dir(archive)
	foreign := build(t, "foreign", "foreign")
	for _, name := range []string{"half.tar.tmp", "chunked.tar.0000.chunk.tmp", ".hidden.tar", ".hidden.tar.0000.chunk", ".tmp/half.tar"} {
		foreign.Archive(filepath.Join(dir, name), layouttest.Archive{})
	}
	for _, name := range []string{"platform.tar.gostsum", "platform.tar.0000.chunk.gostsum", "deckhousereleases.yaml", "tar", "a.chunk", "a.tar.sha256"} {
		layouttest.WriteFile(t, filepath.Join(dir, name), []byte("text"))
	}
	// A directory with the name of an archive is a layout of the tree.
	have := contentOf(t, tree)
	for _, as := range []string{"loose.tar", "loose.tar.gz"} {
		if err := os.CopyFS(filepath.Join(dir, as), os.DirFS(filepath.Join(build(t, "loose", "l").Dir(), "l"))); err != nil {
			t.Fatal(err)
		}
		for name, data := range contentOf(t, build(t, "loose", "l")) {
			have[as+strings.TrimPrefix(name, "l")] = data
		}
	}
	wantAll(t, openWith(t, archiveOptions(dir)), have)
}

// A source may be a symbolic link to an archive. In a source directory, links are not read.
func TestLinksToArchives(t *testing.T) {
	dir := t.TempDir()
	one, two := build(t, "one", "install"), build(t, "two", "install")
	one.Archive(filepath.Join(dir, ".data/one.tar"), layouttest.Archive{})
	two.Archive(filepath.Join(dir, ".data/two.tar"), layouttest.Archive{})
	link := filepath.Join(dir, "current.tar")
	set := func(link, to string) {
		t.Helper()
		if err := errors.Join(os.Symlink(to, link+".new"), os.Rename(link+".new", link)); err != nil {
			t.Fatal(err)
		}
	}
	set(link, ".data/one.tar")
	source := filepath.Join(t.TempDir(), "source.tar")
	set(source, filepath.Join(dir, ".data/one.tar"))
	within, itself := openWith(t, archiveOptions(dir)), openWith(t, archiveOptions(source))
	wantServed(t, within, contentOf(t, one), none)
	wantProblem(t, within, layoutstore.Limited, link, "links to archives are not read")
	wantAll(t, itself, contentOf(t, one))
	set(source, filepath.Join(dir, ".data/two.tar"))
	refresh(t, itself)
	wantAll(t, itself, contentOf(t, two))
}

func TestSourceIsAnArchive(t *testing.T) {
	tree := buildUsual(t, "")
	archive := pack(t, tree)
	other := build(t, "other", "other")
	other.Archive(filepath.Join(filepath.Dir(archive), "other.tar"), layouttest.Archive{})
	opened := openWith(t, archiveOptions(archive))
	wantAll(t, opened, contentOf(t, tree))
	if got := stateOf(t, opened, archive); got != "ready" {
		t.Errorf("state of the archive: got %s, want ready", got)
	}
	chunks := layouttest.Split(t, archive, 9000)
	for _, chunk := range []string{chunks[0], chunks[3], chunks[len(chunks)-1]} {
		wantAll(t, openWith(t, archiveOptions(chunk)), contentOf(t, tree))
	}
	gone := openWith(t, archiveOptions(chunks[1]))
	for _, chunk := range chunks {
		if err := os.Remove(chunk); err != nil {
			t.Fatal(err)
		}
	}
	refresh(t, gone)
	wantServed(t, gone, contentOf(t, tree), none)
	if got := stateOf(t, gone, chunks[1]); got != "missing" {
		t.Errorf("state of the source after its chunks were removed: got %s, want missing", got)
	}
	if found := problemsOf(gone.Snapshot()); len(found) == 0 {
		t.Error("missing source: got no problem, want at least one")
	}
	for _, missing := range []string{archive, chunks[0]} {
		if _, err := layoutstore.Open(context.Background(), archiveOptions(missing)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Open(missing source %s): got the error %v, want os.ErrNotExist", missing, err)
		}
	}
}

// problemsByEntry returns the problems of an archive, by entry. It fails the test if there are
// problems of other files.
func problemsByEntry(t *testing.T, tree *layoutstore.Tree, archive string) map[string]layoutstore.Problem {
	t.Helper()
	found := map[string]layoutstore.Problem{}
	for _, p := range problemsOf(tree.Snapshot()) {
		if p.Path != archive {
			t.Errorf("got the problem %v, want only problems of the archive", p)
		}
		found[p.Entry] = p
	}
	return found
}

func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
