package registry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry"
)

// forms returns every form in which the bundle can be served, with the sources of each form.
func (b *bundle) forms(tb testing.TB) map[string][]string {
	tb.Helper()
	packed := func() string {
		dir := tb.TempDir()
		b.Bundle(dir)
		return dir
	}
	cut := func(dir, pattern string, size int64) string {
		for _, archive := range glob(tb, dir, pattern) {
			layouttest.Split(tb, archive, size)
		}
		return dir
	}
	evenly := func(dir string, size int64) string {
		for _, archive := range glob(tb, dir, "*.tar") {
			layouttest.Cut(tb, archive, size)
		}
		return dir
	}
	handMade := tb.TempDir()
	b.Archive(filepath.Join(handMade, "any name.tar"), layouttest.Archive{DotSlash: true, Directories: true})
	return map[string][]string{
		"archives":             {packed()},
		"one archive":          {handMade},
		"chunks of 1 MiB":      {cut(packed(), "*.tar", 1<<20)},
		"chunks of 4000 bytes": {cut(packed(), "*.tar", 4000)},
		"even chunks":          {evenly(packed(), 4096)},
		"a mix":                {b.mix(tb, cut(packed(), "platform.tar", 1<<20), "plugin-stronghold.tar")},
		"single files":         b.single(tb, cut(packed(), "module-*.tar", 5000)),
	}
}

// mix unpacks all layouts of one archive in dir, and removes that archive. It also unpacks some
// layouts of a second archive, which it keeps.
func (b *bundle) mix(tb testing.TB, dir, archive string) string {
	tb.Helper()
	remove(tb, filepath.Join(dir, archive))
	for _, layout := range []string{"deckhouse-cli/plugins/stronghold", "modules/console/release"} {
		if err := os.CopyFS(filepath.Join(dir, layout), os.DirFS(filepath.Join(b.Dir(), layout))); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

// single returns the path of each archive in dir, and of one chunk per chunk set.
func (b *bundle) single(tb testing.TB, dir string) []string {
	tb.Helper()
	return append(glob(tb, dir, "*.tar"), glob(tb, dir, "*.0001.chunk")...)
}

func glob(tb testing.TB, dir, pattern string) []string {
	tb.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) == 0 {
		tb.Fatalf("Glob(%q) in %s found no file (error %v), want at least one", pattern, dir, err)
	}
	return found
}

// asked is a request to which the servers of all forms must give the same answer.
type asked struct{ method, path, header, value string }

// requests returns requests for all content of the bundle, and other requests that clients send,
// such as requests for tag lists.
func (b *bundle) requests(tb testing.TB) (all []asked) {
	tb.Helper()
	both := func(path string) {
		all = append(all, asked{method: http.MethodGet, path: path}, asked{method: http.MethodHead, path: path})
	}
	files := b.files(tb)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		both(path)
		all = append(all, ranges(path, len(layouttest.ReadFile(tb, files[path])))...)
	}
	repositories := append(slices.Sorted(maps.Keys(b.manifests)), bundleRoot+"/install-standalone", bundleRoot+"/nothing")
	for _, name := range repositories {
		for _, d := range slices.Concat(b.manifests[name], b.manifests[bundleRoot]) {
			both("/v2/" + name + "/manifests/" + d.Digest.String())
			both("/v2/" + name + "/referrers/" + d.Digest.String())
			// The archive may contain this blob, but in another repository.
			both("/v2/" + name + "/blobs/" + d.Digest.String())
			all = append(all, asked{http.MethodGet, "/v2/" + name + "/manifests/" + d.Digest.String(), "If-None-Match", `"` + d.Digest.String() + `"`})
		}
		for tag := range b.tags[name] {
			both("/v2/" + name + "/manifests/" + tag)
		}
		both("/v2/" + name + "/tags/list")
		both("/v2/" + name + "/tags/list?n=1")
		both("/v2/" + name + "/manifests/no-such-tag")
	}
	both("/v2/_catalog")
	both("/v2/_catalog?n=2&last=" + bundleRoot)
	for index, tag := range map[string]string{"modules": "console", "deckhouse-cli/plugins": "stronghold"} {
		both("/v2/" + bundleRoot + "/" + index + "/tags/list")
		both("/v2/" + bundleRoot + "/" + index + "/manifests/" + tag)
	}
	return all
}

// randomRangesEach returns how many random ranges the test requests from each large blob.
func randomRangesEach() int {
	if os.Getenv("LAYOUTPROXY_TEST_ALL") != "" {
		return 200
	}
	return 36 // six ranges of each of the six kinds
}

// ranges returns requests for ranges of the file at path, the same ones in each run. For a large
// file, they include the boundaries of its 1 MiB chunks.
func ranges(path string, size int) (all []asked) {
	random := rand.New(rand.NewPCG(7, uint64(size)))
	n := 2
	if size >= 1<<20 {
		n = randomRangesEach()
		for at := 0; at < size; at += 1 << 20 {
			all = append(all, asked{http.MethodGet, path, "Range", fmt.Sprintf("bytes=%d-%d", max(at-2, 0), at+2)})
		}
	}
	for i := range n {
		if size <= 10000 {
			first := random.IntN(size + 1)
			all = append(all, asked{http.MethodGet, path, "Range", fmt.Sprintf("bytes=%d-%d", first, first+random.IntN(size+1))})
			continue
		}
		header, _ := randomRange(random, i%6, size)
		all = append(all, asked{http.MethodGet, path, "Range", header})
	}
	return all
}

// answer contains the parts of a response that two servers must send alike. It omits the date and
// the multipart boundary, which differ between servers.
type answer struct {
	status int
	header string
	body   digest.Digest
	size   int
}

func (s *server) answer(a asked) answer {
	s.Helper()
	var header []string
	if a.header != "" {
		header = []string{a.header, a.value}
	}
	r := s.do(a.method, a.path, header...)
	r.header.Del("Date")
	body := r.body
	if _, params, err := mime.ParseMediaType(r.header.Get("Content-Type")); err == nil && params["boundary"] != "" {
		r.header.Set("Content-Type", strings.ReplaceAll(r.header.Get("Content-Type"), params["boundary"], "boundary"))
		body = []byte(strings.ReplaceAll(string(body), params["boundary"], "boundary"))
	}
	var b strings.Builder
	if err := r.header.Write(&b); err != nil {
		s.Fatal(err)
	}
	return answer{r.status, b.String(), digest.FromBytes(body), len(body)}
}

func TestAllFormsGiveSameAnswers(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	requests := b.requests(t)
	tree := serve(t, layoutstore.Options{Sources: []string{b.Dir()}})
	want := make([]answer, len(requests))
	statuses := map[int]int{}
	for i, a := range requests {
		want[i] = tree.answer(a)
		statuses[want[i].status]++
	}
	for _, status := range []int{200, 206, 304, 404, 416} {
		if statuses[status] < 10 {
			t.Errorf("the tree answered %d requests with status %d, want at least 10", statuses[status], status)
		}
	}
	// Requesting every range takes long. So only the forms in this map are tested with all ranges,
	// and the others with every fourth one.
	wholly := map[string]bool{"archives": true, "chunks of 1 MiB": true, "a mix": true}
	for form, sources := range b.forms(t) {
		t.Run(form, func(t *testing.T) {
			s := serve(t, layoutstore.Options{Sources: sources})
			for i, a := range requests {
				if a.header == "Range" && !wholly[form] && i%4 != 0 {
					continue
				}
				if got := s.answer(a); got != want[i] {
					t.Errorf("%+v: %s", a, cmp.Diff(want[i], got, cmp.AllowUnexported(answer{})))
				}
			}
			if found := s.problems(); len(found) > 0 {
				t.Errorf("problems: %v", found)
			}
			if heard := s.refusals(); len(heard) > 0 {
				t.Errorf("refused: %v", heard)
			}
		})
	}
}

// hollow is a server for an archive that contains a large blob of zeros and then a small blob. The
// zeros use no disk space unless the archive is split into chunks.
type hollow struct {
	*server
	archive string
	path    string // URL path of the large blob
	after   digest.Digest
}

func hollowEntries(seed string) (entries []layouttest.Entry, large, after digest.Digest) {
	large, after = digest.FromString("any digest"), digest.FromString(seed)
	entry := layouttest.File("app/blobs/sha256/"+large.Encoded(), []byte(seed))
	entry.Size = sparseSize
	return []layouttest.Entry{
		layouttest.File("app/index.json", []byte(`{"schemaVersion":2,"manifests":[]}`)),
		entry,
		layouttest.File("app/blobs/sha256/"+after.Encoded(), []byte(seed)),
	}, large, after
}

func newHollow(t *testing.T, chunk int64) *hollow {
	t.Helper()
	dir := t.TempDir()
	h := &hollow{archive: filepath.Join(dir, "app.tar")}
	entries, large, after := hollowEntries("old")
	layouttest.Tar(t, h.archive, entries...)
	if chunk > 0 {
		layouttest.Split(t, h.archive, chunk)
	}
	h.path, h.after = "/v2/app/blobs/"+large.String(), after
	h.server = serveBare(t, dir)
	return h
}

// rest reads a download of the large blob until it ends; if it is complete, err is io.EOF. n includes the 1000
// bytes that start read. A byte other than zero is an error: the blob in the old archive has only zeros.
func rest(t *testing.T, body io.Reader) (n int, err error) {
	t.Helper()
	buf := make([]byte, 1<<20)
	zeros := make([]byte, len(buf))
	for n = 1000; err == nil; {
		var k int
		k, err = body.Read(buf)
		n += k
		if string(buf[:k]) != string(zeros[:k]) {
			return n, fmt.Errorf("the last %d bytes before offset %d are not all zero, want only zeros", k, n)
		}
	}
	return n, err
}

func TestDownloadOfReplacedArchiveCompletes(t *testing.T) {
	t.Parallel()
	h := newHollow(t, 0)
	body := h.start(h.path)
	ranged := h.start(h.path, "Range", "bytes=5-")
	entries, _, after := hollowEntries("new content")
	layouttest.Tar(t, h.archive, entries...)
	if n, err := rest(t, body); !errors.Is(err, io.EOF) || n != sparseSize {
		t.Errorf("the download ended after %d bytes with %v, want %d bytes and io.EOF", n, err, sparseSize)
	}
	if n, err := rest(t, ranged); !errors.Is(err, io.EOF) || n != sparseSize-5 {
		t.Errorf("the download of a range ended after %d bytes with %v, want %d bytes and io.EOF", n, err, sparseSize-5)
	}
	h.refreshUntil(t, "the new archive", func() bool { return h.get("/v2/app/blobs/"+after.String()).status == http.StatusOK })
	h.get("/v2/app/blobs/"+after.String()).wantFile(t, after, []byte("new content"))
	h.get("/v2/app/blobs/"+h.after.String()).wantError(t, http.StatusNotFound, "BLOB_UNKNOWN")
}

func (s *server) refreshUntil(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for t.Context().Err() == nil {
		if _, err := s.tree.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if ok() {
			return
		}
	}
	t.Fatalf("the test ended before the tree served %s", what)
}

// A download that mixes bytes of two archives must not seem complete, because the client would
// reject it. Instead, the server cuts the connection, and the client retries.
func TestRewrittenArchiveCutsDownload(t *testing.T) {
	t.Parallel()
	for name, rewrite := range map[string]func(*testing.T, *os.File){
		"a byte overwritten in the middle": func(t *testing.T, f *os.File) {
			if _, err := f.WriteAt([]byte("x"), sparseSize/2); err != nil {
				t.Error(err)
			}
		},
		"a byte overwritten at the end": func(t *testing.T, f *os.File) {
			if _, err := f.WriteAt([]byte("x"), sparseSize+1000); err != nil {
				t.Error(err)
			}
		},
		"truncated and extended again": func(t *testing.T, f *os.File) {
			info, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(f.Truncate(10), f.Truncate(info.Size())); err != nil {
				t.Error(err)
			}
		},
		"truncated": func(t *testing.T, f *os.File) {
			if err := f.Truncate(5000); err != nil {
				t.Error(err)
			}
		},
	} {
		for _, header := range [][]string{nil, {"Range", "bytes=5-"}, {"Range", "bytes=0-30000000,30000002-60000000"}} {
			for _, chunk := range []int64{0, sparseSize} {
				t.Run(fmt.Sprintf("%s, %v, chunks of %d", name, header, chunk), func(t *testing.T) {
					h := newHollow(t, chunk)
					file := h.archive
					if chunk > 0 {
						file += ".0000.chunk"
					}
					layouttest.AwaitLaterTime(t, file)
					body := h.start(h.path, header...)
					f, err := os.OpenFile(file, os.O_RDWR, 0)
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
					rewrite(t, f)
					if n, err := io.Copy(io.Discard, body); !errors.Is(err, io.ErrUnexpectedEOF) {
						t.Errorf("the download ended after %d more bytes with %v, want io.ErrUnexpectedEOF", n, err)
					}
				})
			}
		}
	}
}

// still is a Source that cannot rescan, so its snapshot never changes.
type still struct{ snapshot *layoutstore.Snapshot }

func (s still) Snapshot() *layoutstore.Snapshot { return s.snapshot }

// While a file of a bundle changes, clients get 429, so that they retry later.
func TestChangingFilesGet429(t *testing.T) {
	t.Parallel()
	tree := layouttest.New(t, t.TempDir())
	app := tree.Layout("app")
	d := app.Image(layouttest.Image{Name: "one"})
	app.Tag(d, "v1")
	app.Write()
	archive := filepath.Join(t.TempDir(), "app.tar")
	tree.Archive(archive, layouttest.Archive{})
	s := serveBare(t, filepath.Dir(archive))
	h, err := registry.New(still{s.tree.Snapshot()}, registry.Options{Refused: s.refuse})
	if err != nil {
		t.Fatal(err)
	}
	s.listen(h)
	tree.Archive(archive, layouttest.Archive{})
	for _, path := range []string{"/v2/app/manifests/v1", "/v2/app/manifests/" + d.Digest.String(), "/v2/app/blobs/" + d.Digest.String(), "/v2/app/referrers/" + d.Digest.String()} {
		answer := s.get(path)
		answer.wantError(t, http.StatusTooManyRequests, "TOOMANYREQUESTS")
		if answer.header.Get("Retry-After") == "" {
			t.Errorf("GET %s: the 429 answer has no Retry-After header, want one", path)
		}
	}
	if heard := s.refusals(); len(heard) > 0 {
		t.Errorf("refused: %v", heard)
	}
}

// slow is a Source whose rescans take too long for a request.
type slow struct{ *layoutstore.Tree }

func (slow) Refresh(context.Context) (layoutstore.Change, error) {
	return layoutstore.Change{}, context.DeadlineExceeded
}

// While nobody knows whether the new files of a bundle contain a blob, clients get 429, even if the server
// has already read all manifests. After a 404, they would give up or ask the next host.
func TestChangedBlobsGet429(t *testing.T) {
	t.Parallel()
	tree := layouttest.New(t, t.TempDir())
	app := tree.Layout("app")
	app.Tag(app.Image(layouttest.Image{Name: "one", LayerSizes: []int64{5000}}), "v1")
	app.Write()
	archive := filepath.Join(t.TempDir(), "app.tar")
	tree.Archive(archive, layouttest.Archive{})
	s := serveBare(t, filepath.Dir(archive))
	path := "/v2/app/blobs/sha256:" + largest(t, app.Dir(), 5000)
	s.get(path).wantStatus(t, http.StatusOK)
	layouttest.AwaitLaterTime(t, archive) // a later archive may have the same inode
	for _, c := range []struct {
		name    string
		removed bool
		source  registry.Source
		status  int
		code    string
	}{
		{"replaced after each rescan", false, still{s.tree.Snapshot()}, http.StatusTooManyRequests, "TOOMANYREQUESTS"},
		{"replaced, and the rescan is slow", false, slow{s.tree}, http.StatusTooManyRequests, "TOOMANYREQUESTS"},
		{"removed, and the rescan is slow", true, slow{s.tree}, http.StatusTooManyRequests, "TOOMANYREQUESTS"},
		{"removed, and missing after each rescan", true, still{s.tree.Snapshot()}, http.StatusNotFound, "BLOB_UNKNOWN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := registry.New(c.source, registry.Options{Refused: s.refuse})
			if err != nil {
				t.Fatal(err)
			}
			s.listen(h)
			tree.Archive(archive, layouttest.Archive{})
			if c.removed {
				remove(t, archive)
			}
			answer := s.get(path)
			answer.wantError(t, c.status, c.code)
			if got := answer.header.Get("Retry-After"); (got != "") != (c.status == http.StatusTooManyRequests) {
				t.Errorf("the %d response has the Retry-After %q, want one only in a 429 response", answer.status, got)
			}
		})
	}
}
