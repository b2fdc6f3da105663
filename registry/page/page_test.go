package page_test

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
	"github.com/layoutproxy/layoutproxy/registry"
	"github.com/layoutproxy/layoutproxy/registry/page"
)

const sample = "../../examples/bundle"

// open opens and checks the tree of a source. Only the sample has a root.
func open(t testing.TB, source string) *layoutstore.Tree {
	t.Helper()
	o := layoutstore.Options{Sources: []string{source}}
	if source != sample {
		o.Roots = []string{""}
	}
	tree, err := layoutstore.Open(t.Context(), o)
	layouttest.Try(t, err)
	layouttest.Try(t, tree.Snapshot().Check(t.Context(), 1))
	return tree
}

// pages returns the pages of a tree. If change is not nil, it edits the options and the status.
func pages(t testing.TB, tree *layoutstore.Tree, change func(*page.Options, *page.Status)) *page.Page {
	t.Helper()
	s := tree.Snapshot()
	problems, err := s.Problems(t.Context())
	layouttest.Try(t, err)
	status := page.Status{Generation: s.Generation(), Since: time.Date(2026, 11, 28, 16, 0, 0, 0, time.UTC), Repositories: s.RepositoryCount(), Tags: s.TagCount(),
		Roots: s.Roots(), Sources: s.Sources(), Problems: problems, Checked: true, Versions: []page.Version{}, Upstream: "registry.deckhouse.io"}
	o := page.Options{Source: tree, Registry: page.Registry{Address: "127.0.0.1:5000"}, Version: "v1.2.3"}
	if change != nil {
		change(&o, &status)
	}
	if o.Status == nil {
		o.Status = func(context.Context) page.Status { return status }
	}
	p, err := page.New(o)
	layouttest.Try(t, err)
	return p
}

func get(t testing.TB, p http.Handler, path string, status int) string {
	t.Helper()
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	if w.Code != status {
		t.Fatalf("GET %s got status %d, want %d: %s", path, w.Code, status, w.Body)
	}
	return w.Body.String()
}

var (
	tagPattern  = regexp.MustCompile(`data-tag="([^"]*)"`)
	nextPattern = regexp.MustCompile(`href="([^"]*)" rel="next"`)
	linkPattern = regexp.MustCompile(`(?:href|src|action)="([^"]*)"`)
)

func tagsOf(t testing.TB, p http.Handler, name string) (tags []string) {
	t.Helper()
	base, err := url.Parse("/repository/" + name)
	layouttest.Try(t, err)
	for at := base; ; {
		text := get(t, p, at.String(), http.StatusOK)
		for _, m := range tagPattern.FindAllStringSubmatch(text, -1) {
			tags = append(tags, html.UnescapeString(m[1]))
		}
		next := nextPattern.FindStringSubmatch(text)
		if next == nil {
			return tags
		}
		at, err = base.Parse(html.UnescapeString(next[1]))
		layouttest.Try(t, err)
	}
}

func TestTagsMatchAPI(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	many := layouttest.New(t, dir).Layout("many")
	d := many.Image(layouttest.Image{Name: "one"})
	for i := range 250 {
		many.Tag(d, fmt.Sprintf("v1.%d", i))
	}
	many.Write()
	for _, source := range []string{sample, dir} {
		tree := open(t, source)
		api, err := registry.New(tree, registry.Options{})
		layouttest.Try(t, err)
		p := pages(t, tree, nil)
		names, _ := tree.Snapshot().Repositories("", -1)
		if len(names) == 0 {
			t.Fatal("the tree has no repositories, want some")
		}
		for _, name := range names {
			var list struct{ Tags []string }
			layouttest.Try(t, json.Unmarshal([]byte(get(t, api, "/v2/"+name+"/tags/list", http.StatusOK)), &list))
			if got := tagsOf(t, p, name); !slices.Equal(got, list.Tags) {
				t.Errorf("the pages of %s list %d tags, want the %d tags of the API: %v", name, len(got), len(list.Tags), got)
			}
		}
	}
}

// The overview links to every page, directly or through other pages. No page loads anything from
// another host, and no page contains inline scripts or styles, because the policy forbids both. A
// first visit loads at most 60 kB.
func TestEveryPageIsLinked(t *testing.T) {
	t.Parallel()
	tree := open(t, sample)
	p := pages(t, tree, nil)
	seen, queue := map[string]bool{}, []string{"/"}
	for len(queue) > 0 {
		path := queue[0]
		queue = queue[1:]
		if seen[path] || path == "/status" || path == "/metrics" || path == "/rescan" { // the daemon serves these paths, not Page
			continue
		}
		seen[path] = true
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		h := w.Header()
		if w.Code != http.StatusOK {
			t.Errorf("GET %s got status %d, want 200", path, w.Code)
		}
		policy := h.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'self';") || strings.Contains(policy, "unsafe") || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s has the headers %v, want a strict Content-Security-Policy and nosniff", path, h)
		}
		if strings.HasPrefix(path, "/assets/") {
			if h.Get("Cache-Control") != "private, max-age=31536000, immutable" {
				t.Errorf("%s has the headers %v, want a Cache-Control that allows caching for a year", path, h)
			}
			continue
		}
		body := w.Body.String()
		if h.Get("Cache-Control") != "no-store" || h.Get("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("%s has the headers %v, want no-store, and HTML in UTF-8", path, h)
		}
		if bad := regexp.MustCompile(`<style|<script>|<script [^>]*>[^<]|\sstyle=|\son[a-z]+=|javascript:`).FindString(body); bad != "" {
			t.Errorf("%s contains an inline script or style, want none: %s", path, bad)
		}
		for _, m := range linkPattern.FindAllStringSubmatch(body, -1) {
			to, err := url.Parse(html.UnescapeString(m[1]))
			layouttest.Try(t, err)
			if to.Host != "" || to.Scheme != "" {
				t.Errorf("%s contains a link to another host, want none: %s", path, to)
			}
			if to.Path == "" {
				to.Path = path
			}
			to.Fragment = ""
			queue = append(queue, to.String())
		}
	}
	if images := slices.Collect(func(yield func(string) bool) {
		for path := range seen {
			if strings.HasPrefix(path, "/image/") && !yield(path) {
				return
			}
		}
	}); len(images) < 45 {
		t.Errorf("%d images are linked, want at least 45", len(images))
	}
	first := len(get(t, p, "/", http.StatusOK))
	for path := range seen {
		if strings.HasPrefix(path, "/assets/") {
			first += len(get(t, p, path, http.StatusOK))
		}
	}
	if first > 60_000 {
		t.Errorf("the first visit loads %d bytes, want at most 60000", first)
	}
	t.Logf("checked %d pages; the first visit loads %d bytes", len(seen), first)
}

func TestMethodsAndUnknownPages(t *testing.T) {
	t.Parallel()
	p := pages(t, open(t, sample), nil)
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"HEAD", "/", 200}, {"POST", "/", 405}, {"DELETE", "/repositories", 405}, {"PUT", "/assets/page.css", 405},
		{"GET", "/nothing", 404}, {"GET", "/assets/nothing", 404}, {"GET", "/assets/../page.go", 301}, {"GET", "/repository/nothing", 404},
		{"GET", "/repository/<script>alert(1)</script>", 404}, {"GET", "/image/deckhouse/ee", 404}, {"GET", "/image/deckhouse/ee:nothing", 404},
		{"GET", "/image/deckhouse/ee@sha256:1", 404}, {"GET", "/image/deckhouse/ee@sha256:" + strings.Repeat("0", 64), 404},
		{"GET", "/repositories?q=" + strings.Repeat("x", 201), 400}, {"GET", "/repository/deckhouse/ee?q=" + strings.Repeat("x", 201), 400},
		{"GET", "/repositories?q=" + url.QueryEscape(strings.Repeat("ж", 200)), 200}, {"GET", "/repositories?q=" + url.QueryEscape(strings.Repeat("ж", 201)), 400},
		{"GET", "/problems?from=-1", 200}, {"GET", "/problems?from=x", 200}, {"GET", "/repositories?after=%ff%00", 200},
	} {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		if w.Code != c.status || w.Code == 405 && w.Header().Get("Allow") != "GET, HEAD" || strings.Contains(w.Body.String(), "<script>") {
			t.Errorf("%s %s got status %d and the headers %v; want status %d, with 405 also Allow: GET, HEAD, and no script in the body", c.method, c.path, w.Code, w.Header(), c.status)
		}
		if text := http.StatusText(c.status); c.status >= 400 && c.method != "HEAD" && !strings.Contains(w.Body.String(), "<h1>"+text+"</h1>") && !strings.Contains(w.Body.String(), `<h1 class="path">`) {
			t.Errorf("%s %s got a page whose heading is neither %q nor the name of an image:\n%s", c.method, c.path, text, w.Body)
		}
	}
}

func TestSearchResults(t *testing.T) {
	t.Parallel()
	p := pages(t, open(t, sample), nil)
	digest := regexp.MustCompile(`<code title="(sha256:[0-9a-f]+)"`).FindStringSubmatch(get(t, p, "/repository/deckhouse/ee", http.StatusOK))[1]
	for query, want := range map[string]string{
		"install v1.70.1": "/image/deckhouse/ee/install:v1.70.1",
		"EE/INSTALL":      "/repository/deckhouse/ee/install",
		"ee/install:v1":   "/image/deckhouse/ee/install:v1.70.1",
		digest:            "/image/deckhouse/ee:",
		strings.TrimPrefix(digest, "sha256:")[:12]: "/image/deckhouse/ee:",
	} {
		if text := get(t, p, "/repositories?q="+url.QueryEscape(query), http.StatusOK); !strings.Contains(text, `href="`+want) {
			t.Errorf("the results for %q do not contain %s, want it there", query, want)
		}
	}
	if text := get(t, p, "/repositories?q=nowhere", http.StatusOK); !strings.Contains(text, "No results for") {
		t.Error("the search for a name that does not exist has results, want none")
	}
	dir := t.TempDir()
	tree := layouttest.New(t, dir)
	for i := range 6 {
		l := tree.Layout(fmt.Sprintf("r%d", i))
		d := l.Image(layouttest.Image{Name: "one"})
		for j := range 60 {
			l.Tag(d, fmt.Sprintf("Find-%d", j))
		}
		l.Write()
	}
	tree.Layout("find").Write()
	p = pages(t, open(t, dir), nil)
	seen := map[string]int{}
	for at := "/repositories?q=find"; at != ""; {
		text := get(t, p, at, http.StatusOK)
		for _, m := range regexp.MustCompile(`href="(/(?:image|repository)/[^"]*)"`).FindAllStringSubmatch(text, -1) {
			seen[m[1]]++
		}
		if next := nextPattern.FindStringSubmatch(text); next != nil {
			at = html.UnescapeString(next[1])
		} else {
			at = ""
		}
	}
	if len(seen) != 6*60+1 { // 60 tags in each of 6 repositories, and one repository
		t.Errorf("the search found %d results, want 361", len(seen))
	}
	for path, n := range seen {
		if n != 1 {
			t.Errorf("%s is listed %d times, want once", path, n)
		}
	}
}

// Text from a bundle or a request is shown as text. Such text never becomes markup, and does not
// hide or reorder other text.
func TestHostileText(t *testing.T) {
	t.Parallel()
	const marker = `<img src=x onerror=alert(1)>`
	hostile := `"'>` + marker + `</script><!--{{.}}` + "\u202e\u2066\u200b\ufeff\x00\x1b[31m\xff" + "\u0430" + strings.Repeat("long", 2000)
	dir := t.TempDir()
	l := layouttest.New(t, dir).Layout("app")
	image := l.Image(layouttest.Image{Name: hostile, LayerSizes: []int64{10}, LayerMediaType: "application/" + marker, Annotations: map[string]string{hostile: hostile, "a": hostile}})
	l.Tag(image, "v1")
	l.Tag(l.Image(layouttest.Image{Name: "r", ArtifactType: marker + "\u202e", Subject: &image, Annotations: map[string]string{"x": hostile}}), "referrer")
	l.Tag(l.Index(layouttest.Index{Children: []ocispec.Descriptor{image}, Annotations: map[string]string{hostile: ""}}), "index")
	l.Write()
	tree := open(t, dir)
	change := func(o *page.Options, s *page.Status) {
		o.Version, o.Registry.Address = hostile, "0.0.0.0:5000"
		s.Upstream, s.DropDir, s.Roots = "evil$(reboot)`id`;"+hostile, hostile, []string{hostile}
		s.Sources = []layoutstore.SourceStatus{{Path: hostile, Kind: hostile, State: hostile, Detail: hostile}}
		s.Versions = []page.Version{{Name: hostile, Reasons: []string{hostile}}}
		s.Imports = []page.Job{{Name: hostile, State: hostile, Detail: hostile, Total: 2, Bytes: 1}}
		s.Disks = []page.Disk{{Path: hostile}}
		s.Problems = []layoutstore.Problem{{Kind: problem.Kind(hostile), Path: hostile, Reason: hostile, Chunks: []string{hostile}, Repository: "app", Tags: []string{hostile}}}
	}
	for _, path := range []string{"/", "/problems", "/repositories?q=" + url.QueryEscape(hostile[:60]), "/repository/app?q=" + url.QueryEscape(marker), "/repository/app",
		"/image/app:v1", "/image/app:index", "/image/app:referrer", "/events?have=right:x,pill:x"} {
		w := httptest.NewRecorder()
		synctest.Test(t, func(t *testing.T) { // synctest is needed because event streams end only with their context
			ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
			defer cancel()
			req := httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil)
			req.Host = "a$(reboot)" + marker
			pages(t, tree, change).ServeHTTP(w, req)
		})
		body := w.Body.String()
		if strings.Contains(body, "<img src=x") || strings.Contains(body, "<!--") || strings.Contains(body, "reboot") || strings.Contains(body, "</script><") {
			t.Errorf("%s contains markup or a command from the hostile text, want neither:\n%.3000s", path, body)
		}
		if i := strings.IndexFunc(body, func(r rune) bool { return strings.ContainsRune("\u202e\u2066\u200b\ufeff\x00\x1b", r) }); i >= 0 {
			t.Errorf("%s contains a hidden character, want none: %q", path, body[max(0, i-40):i+10])
		}
		if len(body) > 120_000 {
			t.Errorf("%s has %d bytes, want at most 120000", path, len(body))
		}
		if !strings.Contains(body, `\u{202E}`) && !strings.Contains(path, "?q=") {
			t.Errorf("%s does not contain the code point \\u{202E}, want it in place of the hostile character", path)
		}
	}
}

// The pages report the content that the API refuses, and show which archive to copy again.
func TestProblemsMatchAPI(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := layouttest.New(t, dir).Layout("app")
	good := l.Image(layouttest.Image{Name: "good", LayerSizes: []int64{100}})
	l.Tag(good, "good")
	lost := l.Image(layouttest.Image{Name: "lost", LayerSizes: []int64{200}})
	l.Tag(lost, "lost")
	gap := l.Image(layouttest.Image{Name: "gap", LayerSizes: []int64{300}})
	l.Tag(gap, "gap")
	l.Write()
	layouttest.Try(t, os.Remove(l.BlobPath(lost.Digest)))
	var manifest ocispec.Manifest
	body, err := os.ReadFile(l.BlobPath(gap.Digest))
	layouttest.Try(t, err)
	layouttest.Try(t, json.Unmarshal(body, &manifest))
	layer := l.BlobPath(manifest.Layers[0].Digest)
	layouttest.Try(t, os.Truncate(layer, 299))
	p := pages(t, open(t, dir), nil)
	for path, want := range map[string][]string{
		"/":               {"2 problems", "Some content cannot be served", filepath.Base(layer)},
		"/problems":       {"2 problems with 2 causes", "app:gap", "app:lost"},
		"/repository/app": {"Problems", "badge bad"},
		"/image/app:gap":  {"299 bytes, the descriptor says 300"},
	} {
		text := get(t, p, path, http.StatusOK)
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%s does not contain %q, want it there", path, w)
			}
		}
	}
	if text := get(t, p, "/image/app:lost", http.StatusNotFound); !strings.Contains(text, "It cannot be served") || strings.Contains(text, "crane pull") {
		t.Errorf("the page of a missing manifest is %s, want a text that it cannot be served, and no pull command", text)
	}
	if text := get(t, p, "/image/app:good", http.StatusOK); strings.Contains(text, "badge bad\">problem") {
		t.Error("the page of an intact image shows a problem, want none")
	}
}

func TestImagePageShowsPlacesOfBlobs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tree := layouttest.New(t, filepath.Join(dir, "tree"))
	l := tree.Layout("app")
	l.Tag(l.Image(layouttest.Image{Name: "one", LayerSizes: []int64{5000}}), "v1")
	l.Write()
	archive := filepath.Join(dir, "platform.tar")
	tree.Archive(archive, layouttest.Archive{})
	text := get(t, pages(t, open(t, archive), nil), "/image/app:v1", http.StatusOK)
	for _, place := range layouttest.Places(t, archive) {
		if !strings.Contains(place.Name, "/blobs/") {
			continue
		}
		at := regexp.MustCompile(`at byte ([0-9,]+)`)
		found := false
		for _, m := range at.FindAllStringSubmatch(text, -1) {
			found = found || strings.ReplaceAll(m[1], ",", "") == fmt.Sprint(place.Body)
		}
		if !found {
			t.Errorf("the page does not show the place %s at offset %d, want it there", place.Name, place.Body)
		}
	}
}
