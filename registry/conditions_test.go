package registry_test

import (
	"net/http"
	"testing"
)

// conditionCases are based on RFC 9110, section 13. %E stands for the strong ETag of the
// requested content.
var conditionCases = []struct {
	name   string
	header []string
	status int
}{
	{"the content's ETag", []string{"If-None-Match", "%E"}, http.StatusNotModified},
	{"the content's ETag, as a weak one", []string{"If-None-Match", "W/%E"}, http.StatusNotModified},
	{"the content's ETag among several", []string{"If-None-Match", `"x", %E`}, http.StatusNotModified},
	{"anything", []string{"If-None-Match", "*"}, http.StatusNotModified},
	{"another", []string{"If-None-Match", `"x"`}, http.StatusOK},
	{"without quotes", []string{"If-None-Match", "x"}, http.StatusOK},
	{"match", []string{"If-Match", "%E"}, http.StatusOK},
	{"match anything", []string{"If-Match", "*"}, http.StatusOK},
	{"match fails", []string{"If-Match", `"x"`}, http.StatusPreconditionFailed},
	{"a weak ETag never matches", []string{"If-Match", `W/%E`}, http.StatusPreconditionFailed},
	{"If-Match precedes If-None-Match", []string{"If-Match", `"x"`, "If-None-Match", "%E"}, http.StatusPreconditionFailed},
	{"If-Modified-Since is ignored", []string{"If-Modified-Since", "Mon, 02 Jan 2090 15:04:05 GMT"}, http.StatusOK},
}

// withETag replaces %E in headers with etag.
func withETag(header []string, etag string) []string {
	out := make([]string, len(header))
	for i, h := range header {
		switch h {
		case "%E":
			h = etag
		case "W/%E":
			h = "W/" + etag
		case `"x", %E`:
			h = `"x", ` + etag
		}
		out[i] = h
	}
	return out
}

func TestConditionalRequests(t *testing.T) {
	t.Parallel()
	s := newRanged(t)
	for _, path := range []string{s.blob, s.empty, s.manifest, s.tag, s.list, s.list + "?n=1", "/v2/_catalog"} {
		whole := s.get(path)
		etag := whole.header.Get("Etag")
		if len(etag) < 3 || etag[0] != '"' {
			t.Fatalf("%s: the ETag is %q, want a quoted string", path, etag)
		}
		for _, c := range conditionCases {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				r := s.do(method, path, withETag(c.header, etag)...)
				if r.status != c.status {
					t.Errorf("%s %s: %s: status %d, want %d", method, path, c.name, r.status, c.status)
				}
				if r.status == http.StatusNotModified && (len(r.body) > 0 || r.header.Get("Etag") != etag ||
					r.header.Get("Cache-Control") != whole.header.Get("Cache-Control")) {
					t.Errorf("%s %s: %s: the 304 response has the headers %v and %d bytes; want no body, and the ETag and Cache-Control of the 200 response", method, path, c.name, r.header, len(r.body))
				}
				if r.status == http.StatusOK && method == http.MethodGet && string(r.body) != string(whole.body) {
					t.Errorf("GET %s: %s: the 200 response has a different body than without conditions, want the same", path, c.name)
				}
			}
		}
	}
}

func TestConditionalRangeRequests(t *testing.T) {
	t.Parallel()
	s := newRanged(t)
	for _, path := range []string{s.blob, s.manifest, s.tag} {
		etag := s.head(path).header.Get("Etag")
		for _, c := range []struct {
			rng, name, value string
			status           int
		}{
			{"bytes=1-2", "If-Range", "%E", http.StatusPartialContent},
			{"bytes=1-2", "If-Range", `"x"`, http.StatusOK},
			{"bytes=1-2", "If-Range", "W/%E", http.StatusOK},
			{"bytes=1-2", "If-Range", "Mon, 02 Jan 2006 15:04:05 GMT", http.StatusOK},
			{"bytes=1-2", "If-None-Match", "%E", http.StatusNotModified},
			{"bytes=1-2", "If-None-Match", `"x"`, http.StatusPartialContent},
			{"bytes=1-2", "If-Match", `"x"`, http.StatusPreconditionFailed},
			{"bytes=1-2", "If-Match", "%E", http.StatusPartialContent},
			{"bytes=5000-", "If-Range", "%E", http.StatusRequestedRangeNotSatisfiable},
			{"bytes=5000-", "If-Range", `"x"`, http.StatusOK},
			{"bytes=5-4", "If-Range", `"x"`, http.StatusOK},
			{"bytes=5000-", "If-None-Match", "%E", http.StatusNotModified},
			{"bytes=5000-", "If-Match", `"x"`, http.StatusPreconditionFailed},
			{"items=1-2", "If-Range", "%E", http.StatusOK},
		} {
			r := s.get(path, withETag([]string{"Range", c.rng, c.name, c.value}, etag)...)
			if r.status != c.status {
				t.Errorf("%s with Range %s and %s %s: status %d, want %d", path, c.rng, c.name, c.value, r.status, c.status)
			}
			if c.status == http.StatusRequestedRangeNotSatisfiable {
				r.wantError(t, c.status, "RANGE_INVALID")
			}
		}
	}
}
