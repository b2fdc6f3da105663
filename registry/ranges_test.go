package registry_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// span is a range of bytes from first to last, both included.
type span struct{ first, last int }

// readPartial reads a 206 response, compares each part with the content, and returns the spans.
func readPartial(header http.Header, body, content []byte) ([]span, error) {
	mediaType, params, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil || mediaType != "multipart/byteranges" {
		s, err := readPart(header.Get("Content-Range"), body, content)
		return []span{s}, err
	}
	var spans []span
	for parts := multipart.NewReader(bytes.NewReader(body), params["boundary"]); ; {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return spans, nil
		}
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(part)
		if err != nil {
			return nil, err
		}
		s, err := readPart(part.Header.Get("Content-Range"), data, content)
		if err != nil {
			return nil, err
		}
		spans = append(spans, s)
	}
}

func readPart(contentRange string, body, content []byte) (span, error) {
	var s span
	var size int
	n, err := fmt.Sscanf(contentRange, "bytes %d-%d/%d", &s.first, &s.last, &size)
	switch {
	case n != 3 || contentRange != fmt.Sprintf("bytes %d-%d/%d", s.first, s.last, size):
		return s, fmt.Errorf("Content-Range is %q (error %v), want the form bytes FIRST-LAST/SIZE", contentRange, err)
	case size != len(content) || s.first < 0 || s.first > s.last || s.last >= size:
		return s, fmt.Errorf("Content-Range is %q, want a range of the %d bytes of the content", contentRange, len(content))
	case !bytes.Equal(body, content[s.first:s.last+1]):
		return s, fmt.Errorf("Content-Range is %q: got a body of %d bytes, want the %d bytes of this range in the file", contentRange, len(body), s.last+1-s.first)
	}
	return s, nil
}

// checkPartial checks that r is a 206 response with exactly the given spans.
func checkPartial(tb testing.TB, asked string, r response, content []byte, want []span) {
	tb.Helper()
	if r.status != http.StatusPartialContent {
		tb.Errorf("Range %q: status %d, want 206", asked, r.status)
		return
	}
	got, err := readPartial(r.header, r.body, content)
	if err != nil || !slices.Equal(got, want) {
		tb.Errorf("Range %q: got the spans %v and the error %v, want the spans %v", asked, got, err, want)
	}
	if n := r.header.Get("Content-Length"); n != strconv.Itoa(len(r.body)) {
		tb.Errorf("Range %q: Content-Length is %q, want the body's length of %d bytes", asked, n, len(r.body))
	}
	if single := r.header.Get("Content-Range") != ""; single != (len(want) == 1) {
		tb.Errorf("Range %q: Content-Range is %q after a request for %d ranges, want this header only for one range", asked, r.header.Get("Content-Range"), len(want))
	}
	if r.header.Get("Accept-Ranges") != "bytes" || r.header.Get("Etag") == "" || r.header.Get("Docker-Content-Digest") == "" {
		tb.Errorf("Range %q: the headers are %v, want Accept-Ranges bytes, an ETag and a digest", asked, r.header)
	}
}

// ranged serves a blob of 1000 bytes, an empty blob and a manifest.
type ranged struct {
	*server
	blob, empty, manifest, tag, list string // paths
	content, manifestContent         []byte
}

func newRanged(tb testing.TB) *ranged {
	tb.Helper()
	l := layouttest.New(tb, tb.TempDir()).Layout("app")
	r := &ranged{content: bytes.Repeat([]byte("0123456789abcdefghijklmnopqrs, nearly"), 30)[:1000]}
	d := l.Image(layouttest.Image{Layers: [][]byte{r.content, {}}})
	l.Tag(d, "v1")
	l.Write()
	r.server = serveBare(tb, l.Dir()+"/..")
	r.manifestContent = layouttest.ReadFile(tb, l.BlobPath(d.Digest))
	r.blob = "/v2/app/blobs/" + l.Blob("", r.content).Digest.String()
	r.empty = "/v2/app/blobs/" + l.Blob("", nil).Digest.String()
	r.manifest, r.tag, r.list = "/v2/app/manifests/"+d.Digest.String(), "/v2/app/manifests/v1", "/v2/app/tags/list"
	return r
}

// rangeCases apply to a content of 1000 bytes. A case without spans expects a 416 response.
var rangeCases = []struct {
	header string
	want   []span
}{
	{"bytes=0-", []span{{0, 999}}},
	{"bytes=0-0", []span{{0, 0}}},
	{"bytes=500-", []span{{500, 999}}},
	{"bytes=999-", []span{{999, 999}}},
	{"bytes=999-999", []span{{999, 999}}},
	{"bytes=990-5000", []span{{990, 999}}},
	{"bytes=-1", []span{{999, 999}}},
	{"bytes=-1000", []span{{0, 999}}},
	{"bytes=-5000", []span{{0, 999}}},
	{"bytes=007-0008", []span{{7, 8}}},
	{"bytes= 0-1", []span{{0, 1}}},
	{"Bytes=0-1", []span{{0, 1}}},
	{"BYTES=0-1", []span{{0, 1}}},
	{"bytes=0-1,4-5", []span{{0, 1}, {4, 5}}},
	{"bytes=4-5 ,\t0-1", []span{{4, 5}, {0, 1}}},
	{"bytes=0-1,,-1,", []span{{0, 1}, {999, 999}}},
	{"bytes=0-1,1000-", []span{{0, 1}}},
	{"bytes=-0,3-4", []span{{3, 4}}},
	// These numbers are near or above the limit of 64 bits.
	{"bytes=0-99999999999999999999", []span{{0, 999}}},
	{"bytes=-99999999999999999999", []span{{0, 999}}},
	{"bytes=0-9223372036854775807", []span{{0, 999}}},
	{"bytes=-9223372036854775807", []span{{0, 999}}},
	{"bytes=99999999999999999999-", nil},
	{"bytes=9223372036854775807-", nil},
	{"bytes=9223372036854775808-9223372036854775809", nil},
	{"bytes=99999999999999999999-99999999999999999999", nil},
	// Outside.
	{"bytes=-0", nil},
	{"bytes=1000-", nil},
	{"bytes=1000-2000", nil},
	{"bytes=1000-,2000-3000,-0", nil},
	// Illegal.
	{"bytes=5-4", nil},
	{"bytes=0-1,5-4", nil},
	{"bytes=", nil},
	{"bytes=,", nil},
	{"bytes=-", nil},
	{"bytes=--1", nil},
	{"bytes=1", nil},
	{"bytes=a-b", nil},
	{"bytes=1-2-3", nil},
	{"bytes=0-1,x", nil},
	{"bytes=+1-2", nil},
	{"bytes=0x1-2", nil},
	{"bytes=1.0-2", nil},
	{"bytes=0-1;2-3", nil},
	{"bytes=0-1,bytes=2-3", nil},
}

func TestRangeHeaders(t *testing.T) {
	t.Parallel()
	s := newRanged(t)
	for _, c := range rangeCases {
		r := s.get(s.blob, "Range", c.header)
		if c.want != nil {
			checkPartial(t, c.header, r, s.content, c.want)
			continue
		}
		r.wantError(t, http.StatusRequestedRangeNotSatisfiable, "RANGE_INVALID")
		if got := r.header.Values("Content-Range"); !slices.Equal(got, []string{"bytes */1000"}) {
			t.Errorf("the unsatisfiable range %q is answered with Content-Range %q, want bytes */1000", c.header, got)
		}
	}
}

func TestHeadAndEmptyBlobIgnoreRange(t *testing.T) {
	t.Parallel()
	s := newRanged(t)
	for _, c := range rangeCases {
		head := s.head(s.blob, "Range", c.header)
		if head.status != http.StatusOK || head.header.Get("Content-Length") != "1000" || head.header.Get("Content-Range") != "" {
			t.Errorf("HEAD with Range %q is answered with %d and the headers %v; want 200 and no Content-Range", c.header, head.status, head.header)
		}
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			empty := s.do(method, s.empty, "Range", c.header)
			if empty.status != http.StatusOK || empty.header.Get("Content-Length") != "0" || empty.header.Get("Content-Range") != "" {
				t.Errorf("%s of an empty blob with Range %q is answered with %d and the headers %v; want 200 and no Content-Range", method, c.header, empty.status, empty.header)
			}
		}
	}
}

func TestIgnoredRangeHeaders(t *testing.T) {
	t.Parallel()
	s := newRanged(t)
	many := "bytes=0-0" + strings.Repeat(",1-1", 100)
	for _, header := range []string{"items=0-1", "seconds=-0", "bytesx=5-4", "none=", many, many + ",5-4"} {
		r := s.get(s.blob, "Range", header)
		if r.status != http.StatusOK || !bytes.Equal(r.body, s.content) || r.header.Get("Content-Range") != "" {
			t.Errorf("Range %.20q is answered with %d and %d bytes, want the complete blob", header, r.status, len(r.body))
		}
	}
}

func TestHundredRanges(t *testing.T) {
	t.Parallel()
	s := newRanged(t)
	var specs []string
	var want []span
	for i := range 100 {
		specs = append(specs, fmt.Sprintf("%d-%d", 3*i, 3*i+1))
		want = append(want, span{3 * i, 3*i + 1})
	}
	header := "bytes=" + strings.Join(specs, ",")
	checkPartial(t, header, s.get(s.blob, "Range", header), s.content, want)
}

// If a Range header requests all bytes many times, the answer contains them once, or as often as
// requested.
func TestOverlappingRanges(t *testing.T) {
	t.Parallel()
	s := newRanged(t)
	for _, header := range []string{"bytes=0-,0-", "bytes=0-900,100-999,-900", "bytes=0-" + strings.Repeat(",0-", 99)} {
		if err := checkAnyRange(s.get(s.blob, "Range", header), s.content); err != nil {
			t.Errorf("Range %.30q: %v", header, err)
		}
	}
}

// With concurrent_layer_fetch_buffer, containerd 2 requests all content with a range from the first
// byte, even manifests. A 416 response would make its pull fail.
func TestManifestRangeFromFirstByte(t *testing.T) {
	t.Parallel()
	s := newRanged(t)
	for _, path := range []string{s.tag, s.manifest} {
		r := s.get(path, "Range", "bytes=0-", "Accept-Encoding", "zstd;q=1.0, gzip;q=0.8, deflate;q=0.5")
		if err := checkAnyRange(r, s.manifestContent); err != nil || r.status == http.StatusRequestedRangeNotSatisfiable {
			t.Errorf("GET %s with a range from the first byte: got status %d, want 200 or 206 with the right bytes: %v", path, r.status, err)
		}
		if got := r.header.Get("Content-Type"); got != "application/vnd.oci.image.manifest.v1+json" {
			t.Errorf("%s has the Content-Type %q, want that of an image manifest", path, got)
		}
		checkPartial(t, "bytes=5-9", s.get(path, "Range", "bytes=5-9"), s.manifestContent, []span{{5, 9}})
		s.get(path, "Range", "bytes=100000-").wantError(t, http.StatusRequestedRangeNotSatisfiable, "RANGE_INVALID")
	}
}

// If a client was disconnected, it requests the rest without If-Range, and joins both parts.
func TestResumedDownload(t *testing.T) {
	t.Parallel()
	s := newRanged(t)
	for cut := range len(s.content) {
		r := s.get(s.blob, "Range", fmt.Sprintf("bytes=%d-", cut))
		if r.status != http.StatusPartialContent {
			t.Fatalf("GET from byte %d on: got status %d, want 206", cut, r.status)
		}
		if diff := cmp.Diff(string(s.content), string(s.content[:cut])+string(r.body)); diff != "" {
			t.Fatalf("GET from byte %d on: the first part and this body differ from the wanted blob: %s", cut, diff)
		}
	}
}

// checkAnyRange returns an error unless r is a correct answer to a GET request with a Range header.
func checkAnyRange(r response, content []byte) error {
	switch r.status {
	case http.StatusOK:
		if !bytes.Equal(r.body, content) || r.header.Get("Content-Range") != "" {
			return fmt.Errorf("the 200 response has %d bytes and the Content-Range %q, want the complete content and no Content-Range", len(r.body), r.header.Get("Content-Range"))
		}
	case http.StatusPartialContent:
		spans, err := readPartial(r.header, r.body, content)
		if err != nil || len(spans) == 0 {
			return fmt.Errorf("the 206 response has the spans %v, want at least one, with the right bytes: %w", spans, err)
		}
	case http.StatusRequestedRangeNotSatisfiable:
		if !bytes.Contains(r.body, []byte(`"code":"RANGE_INVALID"`)) || r.header.Get("Content-Type") != "application/json" ||
			r.header.Get("Content-Range") != fmt.Sprintf("bytes */%d", len(content)) {
			return fmt.Errorf("the 416 response has the headers %v and the body %q, want JSON with the code RANGE_INVALID, and the size in Content-Range", r.header, r.body)
		}
	default:
		return fmt.Errorf("status %d", r.status)
	}
	return nil
}

// FuzzRange checks the answers to any Range header. Each is the complete file, parts of it at the
// positions that it states, or an error of the registry API.
func FuzzRange(f *testing.F) {
	for _, c := range rangeCases {
		f.Add(c.header)
	}
	f.Add("bytes=0-,0-,0-")
	f.Add("bytes=0-0" + strings.Repeat(",1-1", 100))
	f.Add("bytes=0-0\r\nX: y")
	s := newRanged(f)
	ask := func(method, path, header string) response {
		req := httptest.NewRequest(method, path, nil)
		req.Header["Range"] = []string{header}
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, req)
		return response{w.Code, w.Result().Header, w.Body.Bytes()}
	}
	f.Fuzz(func(t *testing.T, header string) {
		for path, content := range map[string][]byte{s.blob: s.content, s.empty: nil, s.tag: s.manifestContent} {
			r := ask(http.MethodGet, path, header)
			if err := checkAnyRange(r, content); err != nil {
				t.Errorf("Range %q for %s: %v", header, path, err)
			}
			if len(content) == 0 && r.status != http.StatusOK {
				t.Errorf("Range %q for an empty blob is answered with %d, want 200", header, r.status)
			}
			if r := ask(http.MethodHead, path, header); r.status != http.StatusOK || r.header.Get("Content-Range") != "" {
				t.Errorf("HEAD with Range %q for %s is answered with %d and the headers %v; want 200 and no Content-Range", header, path, r.status, r.header)
			}
		}
	})
}
