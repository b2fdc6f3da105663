package registry_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// listed is a server with many repositories, one of which has many tags.
type listed struct {
	*server
	tags, names []string // both are sorted by bytes
}

const listedName = "many/tags"

func newListed(tb testing.TB) *listed {
	tb.Helper()
	tree := layouttest.New(tb, tb.TempDir())
	s := &listed{names: []string{"empty", listedName}}
	l := tree.Layout(listedName)
	d := l.Image(layouttest.Image{})
	for _, pattern := range []string{"v1.%d.0", "V%d", "_%d", "%d", "sha256-%d.sig"} {
		for i := range 5 {
			s.tags = append(s.tags, fmt.Sprintf(pattern, i))
		}
	}
	for _, tag := range s.tags {
		l.Tag(d, tag)
	}
	l.Write()
	for i := range 15 {
		s.names = append(s.names, fmt.Sprintf("team-%d/app", i))
	}
	for _, name := range s.names {
		if name != listedName {
			tree.Layout(name).Write()
		}
	}
	slices.Sort(s.tags)
	slices.Sort(s.names)
	s.server = serveBare(tb, tree.Dir())
	return s
}

func readList(tb testing.TB, r response) []string {
	tb.Helper()
	r.wantStatus(tb, http.StatusOK)
	if r.header.Get("Content-Type") != "application/json" || r.header.Get("Cache-Control") != "no-cache" || r.header.Get("Etag") == "" {
		tb.Errorf("the list has the headers %v, want type application/json, Cache-Control no-cache and an ETag", r.header)
	}
	doc := decode[struct{ Tags, Repositories []string }](tb, r)
	if doc.Tags == nil {
		return doc.Repositories
	}
	return doc.Tags
}

// next returns the URL reference in the Link header, or "" if there is no such header.
func (r response) next(tb testing.TB) string {
	tb.Helper()
	link := r.header.Get("Link")
	if link == "" {
		return ""
	}
	ref, isNext := strings.CutSuffix(link, `>; rel="next"`)
	ref, isRef := strings.CutPrefix(ref, "<")
	if !isNext || !isRef {
		tb.Fatalf("Link %q", link)
	}
	return ref
}

// walk reads a list from path on, and follows its Link headers to the end.
func (s *server) walk(path string, n int) (all []string) {
	s.Helper()
	for range 100 {
		r := s.get(path)
		page := readList(s, r)
		all = append(all, page...)
		next := r.next(s)
		if next == "" {
			return all
		}
		if len(page) != n {
			s.Errorf("%s: a page with a Link header has %d entries, want %d", path, len(page), n)
		}
		if !strings.HasPrefix(next, "/") {
			s.Fatalf("%s: the Link is %q, want a path", path, next)
		}
		path = next
	}
	s.Fatalf("%s: the list has more than 100 pages, want fewer", path)
	return nil
}

func TestPagedLists(t *testing.T) {
	t.Parallel()
	s := newListed(t)
	for path, want := range map[string][]string{"/v2/" + listedName + "/tags/list": s.tags, "/v2/_catalog": s.names} {
		if diff := cmp.Diff(want, s.walk(path, -1)); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
		for _, n := range []int{1, 2, 3, 7, len(want) - 1, len(want), len(want) + 1, 1000, 1<<31 - 1, 1<<63 - 1} {
			paged := fmt.Sprintf("%s?n=%d", path, n)
			if diff := cmp.Diff(want, s.walk(paged, n)); diff != "" {
				t.Errorf("%s: %s", paged, diff)
			}
			if r := s.get(paged); (r.next(t) != "") != (n < len(want)) {
				t.Errorf("%s of a list of %d entries: the Link is %q; want a Link only if entries remain", paged, len(want), r.header.Get("Link"))
			}
		}
	}
}

func TestLastParameter(t *testing.T) {
	t.Parallel()
	s := newListed(t)
	for path, all := range map[string][]string{"/v2/" + listedName + "/tags/list": s.tags, "/v2/_catalog": s.names} {
		// The test uses entries of the list, and other strings that sort before, between and
		// after them. Some are not legal names.
		for _, last := range append([]string{"", "0x", "v1", "v1.2", "zzz", "!", "м", "TEAM/", "a b&c=d", "\xff"}, all...) {
			var want []string
			for _, entry := range all {
				if entry > last {
					want = append(want, entry)
				}
			}
			got := readList(t, s.get(path+"?last="+url.QueryEscape(last)))
			if !slices.Equal(got, want) {
				t.Errorf("the entries of %s after %q are %q, want %q", path, last, got, want)
			}
			r := s.get(path + "?n=2&last=" + url.QueryEscape(last))
			if got := readList(t, r); !slices.Equal(got, want[:min(2, len(want))]) || (r.next(t) != "") != (len(want) > 2) {
				t.Errorf("%s: the page of two entries after %q is %q with the Link %q; want the first two of %q, and a Link if there are more", path, last, got, r.header.Get("Link"), want)
			}
		}
	}
}

func TestPageOfZeroEntries(t *testing.T) {
	t.Parallel()
	s := newListed(t)
	tags := func(name string) string { return fmt.Sprintf(`{"name":%q,"tags":[]}`, name) }
	for path, want := range map[string]string{
		"/v2/" + listedName + "/tags/list?n=0":          tags(listedName),
		"/v2/" + listedName + "/tags/list?n=0&last=v1":  tags(listedName),
		"/v2/" + listedName + "/tags/list?last=zzz":     tags(listedName),
		"/v2/" + listedName + "/tags/list?n=5&last=zzz": tags(listedName),
		"/v2/empty/tags/list":                           tags("empty"),
		"/v2/empty/tags/list?n=10":                      tags("empty"),
		"/v2/_catalog?n=0":                              `{"repositories":[]}`,
		"/v2/_catalog?last=zzz":                         `{"repositories":[]}`,
	} {
		r := s.get(path)
		r.wantStatus(t, http.StatusOK)
		if string(r.body) != want || r.header.Get("Link") != "" {
			t.Errorf("%s: the body is %s and the Link %q, want %s and no Link", path, r.body, r.header.Get("Link"), want)
		}
	}
}

func TestIllegalPageSizes(t *testing.T) {
	t.Parallel()
	s := newListed(t)
	for _, n := range []string{"-1", "-0", "%2B1", "-0x1", "x", "1x", "1.5", "1e3", "0x10", "%20", "1%202", "9223372036854775808", "-9223372036854775809", "99999999999999999999999"} {
		for _, path := range []string{"/v2/" + listedName + "/tags/list?n=", "/v2/_catalog?last=a&n="} {
			s.get(path+n).wantError(t, http.StatusBadRequest, "PAGINATION_NUMBER_INVALID")
			s.head(path+n).wantStatus(t, http.StatusBadRequest)
		}
	}
}

// The Link header contains a path on this server with the prefix of the request, whatever host
// the request names.
func TestLinkHasRequestPrefix(t *testing.T) {
	t.Parallel()
	s := newListed(t)
	for _, prefix := range []string{"", "/mirrors/a", "/mirrors/b%20c", "/x%3Ey", "/v1/v2x"} {
		for path, want := range map[string][]string{"/v2/" + listedName + "/tags/list": s.tags, "/v2/_catalog": s.names} {
			r := s.get(prefix+path+"?n=3&ns=registry.example", "X-Forwarded-Host", "evil.example", "Forwarded", "host=evil.example")
			if next := r.next(t); !strings.HasPrefix(next, prefix+path+"?") {
				t.Errorf("%s%s: the Link is %q, want it to begin with the prefix of the request", prefix, path, r.header.Get("Link"))
			}
			if diff := cmp.Diff(want, s.walk(prefix+path+"?n=3", 3)); diff != "" {
				t.Errorf("%s%s: %s", prefix, path, diff)
			}
		}
	}
}

// The Link header must not begin with two slashes, because a client would then take the next
// segment for a host (RFC 3986, section 4.2).
func TestLinkNamesNoHost(t *testing.T) {
	t.Parallel()
	s := newListed(t)
	for _, prefix := range []string{"//evil.example", "///evil.example", "//evil.example:5000/x"} {
		asked, err := url.Parse(s.url + prefix + "/v2/_catalog?n=3")
		if err != nil {
			t.Fatal(err)
		}
		link := s.get(prefix + "/v2/_catalog?n=3").next(t)
		next, err := asked.Parse(link)
		if err != nil {
			t.Fatal(err)
		}
		if next.Host != asked.Host {
			t.Errorf("%s: the Link %q leads to the host %s, want the host of the request", prefix, link, next.Host)
		}
	}
}

func TestHeadOfLists(t *testing.T) {
	t.Parallel()
	s := newListed(t)
	for _, path := range []string{"/v2/" + listedName + "/tags/list", "/v2/_catalog", "/v2/_catalog?n=2", "/v2/empty/tags/list"} {
		get, head := s.get(path), s.head(path)
		head.wantStatus(t, http.StatusOK)
		for _, name := range []string{"Content-Type", "Content-Length", "Etag", "Cache-Control", "Link"} {
			if g, h := get.header.Values(name), head.header.Values(name); !slices.Equal(g, h) {
				t.Errorf("%s: the header %s is %q after GET and %q after HEAD, want the same value", path, name, g, h)
			}
		}
	}
}

func TestETagsOfLists(t *testing.T) {
	t.Parallel()
	s := newListed(t)
	seen := map[string]string{}
	for _, path := range []string{"/v2/" + listedName + "/tags/list", "/v2/" + listedName + "/tags/list?n=2", "/v2/_catalog", "/v2/_catalog?n=2", "/v2/empty/tags/list"} {
		r := s.get(path)
		etag := r.header.Get("Etag")
		if again := s.get(path).header.Get("Etag"); etag == "" || again != etag {
			t.Errorf("%s: the first ETag is %q, the second %q; want the same", path, etag, again)
		}
		if other, ok := seen[etag]; ok {
			t.Errorf("the different lists %s and %s have the same ETag %s, want different ones", path, other, etag)
		}
		seen[etag] = path
		s.get(path, "If-None-Match", etag).wantStatus(t, http.StatusNotModified)
	}
}

func TestListsAfterRefresh(t *testing.T) {
	t.Parallel()
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("app")
	image(l, "one", "v1")
	l.Write()
	s := serveBare(t, tree.Dir())
	before, catalog := s.get("/v2/app/tags/list").header.Get("Etag"), s.get("/v2/_catalog").header.Get("Etag")
	image(l, "two", "v2")
	l.Write()
	tree.Layout("other").Write()
	if _, err := s.tree.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := s.get("/v2/app/tags/list", "If-None-Match", before)
	if got, err := json.Marshal(readList(t, r)); err != nil || string(got) != `["v1","v2"]` {
		t.Errorf("after the rescan, the tags are %s (error %v), want v1 and v2", got, err)
	}
	if got := readList(t, s.get("/v2/_catalog", "If-None-Match", catalog)); !slices.Equal(got, []string{"app", "other"}) {
		t.Errorf("repositories %q", got)
	}
}
