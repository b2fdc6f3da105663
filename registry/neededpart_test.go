package registry

import (
	"bytes"
	"net/http/httptest"
	"slices"
	"testing"
)

// neededPart returns the part of the content with which the answer begins. This part is known
// before the content is opened. So only this part is requested from a bucket, and of several chunks,
// the one in which the part begins is opened first.
func TestNeededPart(t *testing.T) {
	t.Parallel()
	const size = 1000
	for _, c := range []struct {
		headers []string
		off, n  int64
	}{
		{nil, 0, size},
		{[]string{"bytes=0-"}, 0, size},
		{[]string{"bytes=17-20"}, 17, 4},
		{[]string{"bytes=999-"}, 999, 1},
		{[]string{"bytes=1000-"}, 0, 0}, // a range after the end of the content is refused
		{[]string{"bytes=-1"}, 999, 1},
		{[]string{"bytes=-2000"}, 0, size},
		{[]string{"bytes=990-2000"}, 990, 10},
		{[]string{"bytes=5000-,30-40,2-3"}, 30, 11},
		{[]string{"bytes=40-50", "2-3"}, 40, 11},
		{[]string{"items=5-"}, 0, size},
		{[]string{"bytes=9-8"}, 0, 0},
	} {
		for method, none := range map[string]bool{"GET": false, "HEAD": true} {
			req := httptest.NewRequest(method, "/", nil)
			if c.headers != nil {
				req.Header["Range"] = c.headers
			}
			wantOff, wantN := c.off, c.n
			if none {
				wantOff, wantN = 0, 0
			}
			if off, n := neededPart(req)(size); off != wantOff || n != wantN {
				t.Errorf("%s with Range %q needs %d bytes from offset %d, want %d from offset %d", method, c.headers, n, off, wantN, wantOff)
			}
			for _, condition := range []string{"If-None-Match", "If-Match"} {
				conditional := req.Clone(t.Context())
				conditional.Header.Set(condition, `"x"`)
				if off, n := neededPart(conditional)(size); off != wantOff || n != 0 {
					t.Errorf("%s with Range %q and %s needs %d bytes from offset %d, want nothing", method, c.headers, condition, n, off)
				}
			}
		}
	}
}

// The server leaves the Range header of a request unchanged, because the access log contains it.
// Several header lines count as one list (RFC 9110, section 5.3).
func TestRangeHeadersAreNotChanged(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("0123456789"), 100)
	for _, c := range []struct {
		headers []string
		status  int
		body    string
	}{
		{[]string{"bytes=5000-,3-4"}, 206, "34"},
		{[]string{"bytes=3-4", "5000-6000"}, 206, "34"},
		{[]string{"bytes=3-4", ""}, 206, "34"},
		{[]string{"items=1-2"}, 200, string(content)},
		{[]string{"bytes=5000-"}, 0, ""},
	} {
		req := httptest.NewRequest("GET", "/", nil)
		req.Header["Range"] = slices.Clone(c.headers)
		w := httptest.NewRecorder()
		err := serveContent(w, req, bytes.NewReader(content), int64(len(content)))
		if !slices.Equal(req.Header["Range"], c.headers) {
			t.Errorf("serveContent changed the header Range %q to %q, want no change", c.headers, req.Header["Range"])
		}
		if refused := c.status == 0; (err != nil) != refused || !refused && (w.Code != c.status || w.Body.String() != c.body) {
			t.Errorf("serveContent with the Range %q: got status %d, the body %q and the error %v; want status %d (0: an error) and the body %q", c.headers, w.Code, w.Body, err, c.status, c.body)
		}
	}
}
