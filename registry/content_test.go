package registry_test

import (
	"cmp"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/edition"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

const immutable = "max-age=31536000, immutable"

// files maps the path of each blob in the registry to its file in the tree. It does not use the
// code under test.
func (b *bundle) files(tb testing.TB) map[string]string {
	tb.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(b.Dir(), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(b.Dir(), path)
		if err != nil {
			return err
		}
		parts := strings.Split(filepath.ToSlash(rel), "/")
		n := len(parts)
		if n < 3 || parts[n-3] != "blobs" {
			return nil
		}
		name := edition.Of(bundleRoot).Name(cmp.Or(strings.Join(parts[:n-3], "/"), "."))
		found["/v2/"+name+"/blobs/"+parts[n-2]+":"+parts[n-1]] = path
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return found
}

// wantHeader checks all headers of a response that describe its content.
func (r response) wantHeader(tb testing.TB, mediaType, cache string, d digest.Digest, size int) {
	tb.Helper()
	for name, want := range map[string]string{
		"Content-Type":          mediaType,
		"Content-Length":        strconv.Itoa(size),
		"Docker-Content-Digest": d.String(),
		"Etag":                  `"` + d.String() + `"`,
		"Cache-Control":         cache,
		"Accept-Ranges":         "bytes",
	} {
		if got := r.header.Values(name); !slices.Equal(got, []string{want}) {
			tb.Errorf("%s: the header %s is %q, want %q", d, name, got, want)
		}
	}
}

func TestBlobsMatchFiles(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	s := serve(t, layoutstore.Options{Sources: []string{b.Dir()}})
	files := b.files(t)
	if len(files) < 30 {
		t.Fatalf("the walk found %d blobs, want at least 30", len(files))
	}
	for path, file := range files {
		content := layouttest.ReadFile(t, file)
		d := digest.Digest(path[strings.LastIndexByte(path, '/')+1:])
		got := s.get(path)
		got.wantFile(t, d, content)
		got.wantHeader(t, "application/octet-stream", immutable, d, len(content))
		head := s.head(path)
		head.wantStatus(t, http.StatusOK)
		head.wantHeader(t, "application/octet-stream", immutable, d, len(content))
	}
}

func TestManifestsMatchFiles(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	s := serve(t, layoutstore.Options{Sources: []string{b.Dir()}})
	files := b.files(t)
	check := func(path, mediaType, cache string, d digest.Digest, file string) {
		content := layouttest.ReadFile(t, file)
		got := s.get(path)
		got.wantFile(t, d, content)
		got.wantHeader(t, mediaType, cache, d, len(content))
		head := s.head(path)
		head.wantStatus(t, http.StatusOK)
		head.wantHeader(t, mediaType, cache, d, len(content))
	}
	for name, manifests := range b.manifests {
		for _, m := range manifests {
			file := files[fmt.Sprintf("/v2/%s/blobs/%s", name, m.Digest)]
			check(fmt.Sprintf("/v2/%s/manifests/%s", name, m.Digest), m.MediaType, immutable, m.Digest, file)
			for tag, d := range b.tags[name] {
				if d == m.Digest {
					check(fmt.Sprintf("/v2/%s/manifests/%s", name, tag), m.MediaType, "no-cache", d, file)
				}
			}
		}
	}
}

func TestBundleHasNoProblems(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	s := serve(t, layoutstore.Options{Sources: []string{b.Dir()}})
	if got := s.problems(); len(got) != 0 {
		t.Errorf("problems: %v", got)
	}
	for name, tags := range b.tags {
		for tag := range tags {
			if !slices.Contains(s.tags(name), tag) {
				t.Errorf("the tag list of %s does not contain %s, want all tags of the bundle", name, tag)
			}
		}
	}
}

// The test takes the expected bytes from the file, not from the code under test.
func TestRandomRangesMatchFiles(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	s := serve(t, layoutstore.Options{Sources: []string{b.Dir()}})
	large := 0
	for path, file := range b.files(t) {
		content := layouttest.ReadFile(t, file)
		if len(content) < 1<<20 {
			continue
		}
		large++
		random := rand.New(rand.NewPCG(1, uint64(len(content))))
		for i := range randomRangesEach() {
			asked, want := randomRange(random, i%6, len(content))
			r := s.get(path, "Range", asked)
			if len(want) == 0 {
				r.wantError(t, http.StatusRequestedRangeNotSatisfiable, "RANGE_INVALID")
				if got := r.header.Get("Content-Range"); got != fmt.Sprintf("bytes */%d", len(content)) {
					t.Errorf("with the unsatisfiable Range %q, the Content-Range is %q, want bytes */%d", asked, got, len(content))
				}
				continue
			}
			checkPartial(t, asked, r, content, want)
		}
	}
	if large != 2 {
		t.Errorf("the bundle has %d large blobs, want 2, one per digest algorithm", large)
	}
}

// randomRange returns a random Range header of the given kind, and its spans. There are no spans
// if the range is unsatisfiable.
func randomRange(random *rand.Rand, kind, size int) (header string, want []span) {
	first := random.IntN(size)
	last := first + random.IntN(size-first)
	switch kind {
	case 0: // a range with both ends, of which the second may be after the end of the blob
		header = fmt.Sprintf("bytes=%d-%d", first, last+random.IntN(2)*size)
		if strings.HasSuffix(header, fmt.Sprintf("-%d", last)) {
			return header, []span{{first, last}}
		}
		return header, []span{{first, size - 1}}
	case 1:
		return fmt.Sprintf("bytes=%d-", first), []span{{first, size - 1}}
	case 2:
		n := 1 + random.IntN(2*size)
		return fmt.Sprintf("bytes=-%d", n), []span{{max(size-n, 0), size - 1}}
	case 3:
		return randomRanges(random, size)
	case 4:
		return fmt.Sprintf("bytes=%d-%d", size+first, size+last), nil
	default:
		illegal := []string{fmt.Sprintf("bytes=%d-%d", last+1, first), fmt.Sprintf("bytes=%d", first),
			fmt.Sprintf("bytes=%d-x", first), fmt.Sprintf("bytes=%d-%d,-", first, last), "bytes=-0"}
		return illegal[random.IntN(len(illegal))], nil
	}
}

// randomRanges returns a Range header with several small spans, and one after the blob's end.
func randomRanges(random *rand.Rand, size int) (header string, want []span) {
	var specs []string
	for range 2 + random.IntN(4) {
		first := random.IntN(size - 10000)
		s := span{first, first + random.IntN(10000)}
		want = append(want, s)
		specs = append(specs, fmt.Sprintf("%d-%d", s.first, s.last))
	}
	beyond := random.IntN(len(specs) + 1)
	return "bytes=" + strings.Join(slices.Insert(specs, beyond, fmt.Sprintf("%d-", size)), ", "), want
}
