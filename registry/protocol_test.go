package registry_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry"
)

var unknownDigest = digest.FromString("unknown content").String()

// small serves two repositories: app contains an image, and empty contains nothing.
type small struct {
	*server
	layout   *layouttest.Layout
	manifest digest.Digest
	layer    digest.Digest
}

func newSmall(tb testing.TB) *small {
	tb.Helper()
	tree := layouttest.New(tb, tb.TempDir())
	l := tree.Layout("app")
	content := []byte("a layer")
	d := l.Image(layouttest.Image{Layers: [][]byte{content}})
	l.Tag(d, "v1")
	l.Write()
	tree.Layout("empty").Write()
	return &small{serveBare(tb, tree.Dir()), l, d.Digest, digest.FromBytes(content)}
}

func TestNewRequiresSource(t *testing.T) {
	t.Parallel()
	if _, err := registry.New(nil, registry.Options{}); err == nil {
		t.Error("New without a source returned no error, want one")
	}
}

func TestBaseOfAPI(t *testing.T) {
	t.Parallel()
	s := newSmall(t)
	for _, path := range []string{"/v2/", "/v2", "/mirrors/a/v2/", "/mirrors/a/v2", "/v2/?ns=registry.example"} {
		r := s.get(path)
		if r.status != http.StatusOK || string(r.body) != "{}" || r.header.Get("Content-Type") != "application/json" {
			t.Errorf("GET %s is answered with %d, %q and the headers %v; want 200 and the JSON {}", path, r.status, r.body, r.header)
		}
		if r := s.head(path); r.status != http.StatusOK || r.header.Get("Content-Length") != "2" {
			t.Errorf("HEAD %s is answered with %d and the headers %v; want 200 and Content-Length 2", path, r.status, r.header)
		}
	}
}

func TestWritesAreRefused(t *testing.T) {
	t.Parallel()
	s := newSmall(t)
	for _, path := range []string{
		"/v2/", "/v2/_catalog", "/v2/app/tags/list",
		"/v2/app/manifests/v1", "/v2/app/manifests/" + s.manifest.String(), "/v2/app/manifests/new",
		"/v2/app/blobs/" + s.layer.String(),
		"/v2/app/blobs/uploads/", "/v2/app/blobs/uploads/?digest=" + unknownDigest, "/v2/app/blobs/uploads/1234",
		"/v2/app/referrers/" + s.manifest.String(),
		"/v2/unknown/manifests/v1", "/v2/unknown/blobs/uploads/",
		"/v2/ILLEGAL/manifests/v1", "/v2/app/manifests/!", "/v2/app/blobs/x", "/v2/app/tags/list?n=x",
		"/v2/no/such/path", "/v2/x", "/mirrors/a/v2/app/blobs/uploads/",
	} {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			r := s.do(method, path)
			r.wantError(t, http.StatusMethodNotAllowed, "UNSUPPORTED")
			if got := r.header.Get("Allow"); got != "GET, HEAD" {
				t.Errorf("%s %s is answered with the header Allow %q, want GET and HEAD", method, path, got)
			}
		}
	}
	s.get("/v2/app/manifests/v1").wantFile(t, s.manifest, layouttest.ReadFile(t, s.layout.BlobPath(s.manifest)))
}

func TestUnknownPaths(t *testing.T) {
	t.Parallel()
	s := newSmall(t)
	for _, path := range []string{
		"/v2/app", "/v2/app/", "/v2/app/tags", "/v2/app/tags/", "/v2/app/tags/list/", "/v2/app/tags/other",
		"/v2/app/blobs/uploads/", "/v2/app/blobs/uploads/1234", "/v2/_catalog/", "/v2/_catalog/x", "/v2/_state/x/y",
		"/v2/app/manifest/v1", "/v2/ILLEGAL/other/v1", "/", "/v1/", "/v2x", "/healthz", "/favicon.ico",
	} {
		s.get(path).wantError(t, http.StatusNotFound, "NAME_UNKNOWN")
		s.head(path).wantStatus(t, http.StatusNotFound)
	}
}

// If a request has several errors, the first of these is reported: method, route, name, digest or
// tag, repository, manifest or blob.
func TestOrderOfChecks(t *testing.T) {
	t.Parallel()
	s := newSmall(t)
	for _, c := range []struct {
		path   string
		status int
		code   string
	}{
		{"/v2/ILLEGAL/manifests/!", http.StatusBadRequest, "NAME_INVALID"},
		{"/v2/ILLEGAL/manifests/sha256:x", http.StatusBadRequest, "NAME_INVALID"},
		{"/v2/ILLEGAL/blobs/x", http.StatusBadRequest, "NAME_INVALID"},
		{"/v2/ILLEGAL/referrers/x", http.StatusBadRequest, "NAME_INVALID"},
		{"/v2/ILLEGAL/tags/list?n=x", http.StatusBadRequest, "NAME_INVALID"},
		{"/v2/unknown/manifests/!", http.StatusBadRequest, "TAG_INVALID"},
		{"/v2/unknown/manifests/sha256:x", http.StatusBadRequest, "DIGEST_INVALID"},
		{"/v2/unknown/blobs/x", http.StatusBadRequest, "DIGEST_INVALID"},
		{"/v2/unknown/referrers/x", http.StatusBadRequest, "DIGEST_INVALID"},
		{"/v2/unknown/tags/list?n=x", http.StatusBadRequest, "PAGINATION_NUMBER_INVALID"},
		{"/v2/unknown/manifests/v1", http.StatusNotFound, "NAME_UNKNOWN"},
		{"/v2/unknown/manifests/" + s.manifest.String(), http.StatusNotFound, "NAME_UNKNOWN"},
		{"/v2/unknown/blobs/" + s.layer.String(), http.StatusNotFound, "NAME_UNKNOWN"},
		{"/v2/unknown/referrers/" + s.manifest.String(), http.StatusNotFound, "NAME_UNKNOWN"},
		{"/v2/unknown/tags/list", http.StatusNotFound, "NAME_UNKNOWN"},
		{"/v2/app/manifests/v2", http.StatusNotFound, "MANIFEST_UNKNOWN"},
		{"/v2/app/manifests/" + unknownDigest, http.StatusNotFound, "MANIFEST_UNKNOWN"},
		{"/v2/app/manifests/" + s.layer.String(), http.StatusNotFound, "MANIFEST_UNKNOWN"},
		{"/v2/app/blobs/" + unknownDigest, http.StatusNotFound, "BLOB_UNKNOWN"},
		{"/v2/empty/blobs/" + s.layer.String(), http.StatusNotFound, "BLOB_UNKNOWN"},
		{"/v2/empty/manifests/" + s.manifest.String(), http.StatusNotFound, "MANIFEST_UNKNOWN"},
	} {
		s.get(c.path).wantError(t, c.status, c.code)
		s.head(c.path).wantStatus(t, c.status)
	}
}

func TestIllegalNames(t *testing.T) {
	t.Parallel()
	s := newSmall(t)
	for _, name := range []string{
		"App", "app_", "-app", "app..x", "a___b", "a._b", "a/.b", "a//b", "app/", ".", "..", "app/..", "a%20b", "a:b", "a@b", "%D0%B0",
		strings.Repeat("a", 256), strings.Repeat("a/", 127) + "bb",
	} {
		s.get("/v2/"+name+"/tags/list").wantError(t, http.StatusBadRequest, "NAME_INVALID")
		s.get("/v2/"+name+"/manifests/v1").wantError(t, http.StatusBadRequest, "NAME_INVALID")
	}
	for _, name := range []string{"a", "0", "a.b_c__d---e/f", strings.Repeat("a", 255), strings.Repeat("a/", 127) + "b"} {
		s.get("/v2/"+name+"/tags/list").wantError(t, http.StatusNotFound, "NAME_UNKNOWN")
	}
}

func TestIllegalTagsAndDigests(t *testing.T) {
	t.Parallel()
	s := newSmall(t)
	for _, tag := range []string{".v1", "-v1", "v1!", "v%201", "v+1", "%D0%B2", strings.Repeat("a", 129)} {
		s.get("/v2/app/manifests/"+tag).wantError(t, http.StatusBadRequest, "TAG_INVALID")
	}
	for _, tag := range []string{"_", "V1.0-x_", strings.Repeat("a", 128), strings.Repeat("0", 64)} {
		s.get("/v2/app/manifests/"+tag).wantError(t, http.StatusNotFound, "MANIFEST_UNKNOWN")
	}
	hex := s.manifest.Encoded()
	for _, d := range []string{
		"sha256:", "sha256:" + hex[1:], "sha256:" + hex + "0", "sha256:" + strings.Repeat("A", 64),
		"sha512:" + hex, "md5:" + hex[:32], "unknown:" + hex, ":" + hex, "sha256:" + hex[:63] + "g", "sha256::" + hex[1:],
	} {
		for _, kind := range []string{"manifests", "blobs", "referrers"} {
			s.get("/v2/app/"+kind+"/"+d).wantError(t, http.StatusBadRequest, "DIGEST_INVALID")
		}
	}
	s.get("/v2/app/blobs/"+hex).wantError(t, http.StatusBadRequest, "DIGEST_INVALID")
}

// containerd puts any prefix before /v2/ (override_path), and sends the name of the original
// registry in the parameter ns. Both are ignored.
func TestPrefixesAndNamespacesAreIgnored(t *testing.T) {
	t.Parallel()
	s := newSmall(t)
	manifest := layouttest.ReadFile(t, s.layout.BlobPath(s.manifest))
	for _, prefix := range []string{"", "/mirrors/a", "/x/y/z", "/v1", "/v2x", "/MIRRORS/b%20c", "/a..b", "//a"} {
		path := prefix + "/v2/app/manifests/v1?ns=registry.example"
		s.get(path).wantFile(t, s.manifest, manifest)
		s.head(path).wantStatus(t, http.StatusOK)
		s.get(prefix+"/v2/app/blobs/"+s.layer.String()+"?ns=other.example:5000").wantFile(t, s.layer, []byte("a layer"))
		s.get(prefix+"/v2/unknown/tags/list?ns=x").wantError(t, http.StatusNotFound, "NAME_UNKNOWN")
	}
	s.get("/v2/app/blobs/sha256%3A"+s.layer.Encoded()).wantFile(t, s.layer, []byte("a layer"))
	// The path is split at the first /v2/. After it, a name may contain any keyword of the API.
	s.get("/a/v2/b/v2/app/manifests/v1").wantError(t, http.StatusNotFound, "NAME_UNKNOWN")
}

func TestRepositoryNamesWithAPIKeywords(t *testing.T) {
	t.Parallel()
	tree := layouttest.New(t, t.TempDir())
	names := []string{"tags", "tags/list", "manifests/blobs", "referrers", "v2/v2", "blobs/uploads"}
	digests := map[string]digest.Digest{}
	for _, name := range names {
		l := tree.Layout(name)
		digests[name] = image(l, name, "list")
		l.Write()
	}
	s := serveBare(t, tree.Dir())
	for _, name := range names {
		s.get("/v2/"+name+"/manifests/list").wantFile(t, digests[name], layouttest.ReadFile(t, tree.Layout(name).BlobPath(digests[name])))
		if got := s.tags(name); len(got) != 1 || got[0] != "list" {
			t.Errorf("the repository %s has the tags %q, want only one, named list", name, got)
		}
	}
}

// The Accept header is ignored. The media type comes from the descriptor, or else from the
// manifest. If these two contradict each other, the content is served neither as a manifest nor
// as a blob.
func TestContentTypeOfManifests(t *testing.T) {
	t.Parallel()
	l := layouttest.New(t, t.TempDir()).Layout("app")
	l.Tag(l.Blob(layouttest.MediaTypeDockerManifest, []byte(`{"schemaVersion":2,"layers":[]}`)), "descriptor")
	own := l.Image(layouttest.Image{Name: "own", Docker: true})
	own.MediaType = ""
	l.Tag(own, "own")
	index := l.Index(layouttest.Index{Docker: true})
	index.MediaType = ""
	l.Tag(index, "index")
	bare := l.Blob("", []byte(`{"schemaVersion":2,"manifests":[]}`))
	l.Tag(bare, "bare")
	wrong := l.Image(layouttest.Image{Name: "wrong"})
	wrong.MediaType = layouttest.MediaTypeDockerManifest
	l.Tag(wrong, "wrong")
	l.Write()
	s := serveBare(t, l.Dir()+"/..")
	for path, code := range map[string]string{"manifests/wrong": "MANIFEST_UNKNOWN", "manifests/" + wrong.Digest.String(): "MANIFEST_UNKNOWN", "blobs/" + wrong.Digest.String(): "BLOB_UNKNOWN"} {
		s.get("/v2/app/"+path).wantError(t, http.StatusNotFound, code)
	}
	for tag, want := range map[string]string{
		"descriptor": layouttest.MediaTypeDockerManifest,
		"own":        layouttest.MediaTypeDockerManifest,
		"index":      layouttest.MediaTypeDockerManifestList,
		"bare":       "application/vnd.oci.image.index.v1+json",
	} {
		for _, accept := range []string{"", "*/*", "text/html", "application/vnd.oci.image.manifest.v1+json"} {
			r := s.get("/v2/app/manifests/"+tag, "Accept", accept)
			if got := r.header.Get("Content-Type"); r.status != http.StatusOK || got != want {
				t.Errorf("%s with Accept %q is answered with %d and the type %q, want %q", tag, accept, r.status, got, want)
			}
		}
	}
}

// If a manifest has an HTML media type, browsers must not run its scripts with the rights of the
// registry's origin (W3C Content Security Policy Level 3, directive sandbox).
func TestHTMLManifestsAreSandboxed(t *testing.T) {
	t.Parallel()
	l := layouttest.New(t, t.TempDir()).Layout("app")
	for _, mediaType := range []string{"text/html", "application/xhtml+xml", "image/svg+xml", "TEXT/HTML; charset=utf-8"} {
		body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"<script>alert(1)</script>","digest":"sha256:%064d","size":2},"layers":[]}`, mediaType, 0)
		l.Tag(l.Blob(mediaType, []byte(body)), fmt.Sprintf("t%d", len(mediaType)))
	}
	l.Tag(l.Image(layouttest.Image{Name: "image"}), "image")
	l.Write()
	s := serveBare(t, l.Dir()+"/..")
	for _, tag := range []string{"t9", "t21", "t13", "t24"} {
		r := s.get("/v2/app/manifests/" + tag)
		if r.status == http.StatusOK && (!strings.Contains(r.header.Get("Content-Security-Policy"), "sandbox") || r.header.Get("X-Content-Type-Options") != "nosniff") {
			t.Errorf("%s is served as %q with the headers %v, want a Content-Security-Policy with sandbox, and nosniff", tag, r.header.Get("Content-Type"), r.header)
		}
	}
	if r := s.get("/v2/app/manifests/t9"); r.status != http.StatusOK {
		t.Errorf("the manifest of type text/html is answered with %d, want 200", r.status)
	}
	if r := s.get("/v2/app/manifests/image"); r.header.Get("Content-Security-Policy") != "" {
		t.Errorf("an image is served with the headers %v, want no Content-Security-Policy", r.header)
	}
}

// If clients have to log in, shared caches must not store any answer.
func TestPrivateAnswers(t *testing.T) {
	t.Parallel()
	s := newSmall(t)
	h, err := registry.New(s.tree, registry.Options{Private: true})
	if err != nil {
		t.Fatal(err)
	}
	s.listen(h)
	for _, path := range []string{"/v2/app/manifests/" + s.manifest.String(), "/v2/app/blobs/" + s.layer.String()} {
		got := s.get(path).header.Get("Cache-Control")
		if !strings.Contains(got, "private") || !strings.Contains(got, "max-age=31536000") || !strings.Contains(got, "immutable") {
			t.Errorf("%s is served with Cache-Control %q, want private", path, got)
		}
	}
	for _, path := range []string{"/v2/app/manifests/v1", "/v2/app/tags/list", "/v2/_catalog"} {
		if got := s.get(path).header.Get("Cache-Control"); got != "no-cache" {
			t.Errorf("%s is served with Cache-Control %q, want no-cache", path, got)
		}
	}
}
