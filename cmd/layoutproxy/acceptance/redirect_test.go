package acceptance

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// With --s3-redirect, layoutproxy redirects a GET of a blob that is an object of its own in the
// bucket. It does not redirect HEAD, entries of archives, manifests, or requests without a login.
func TestOnlyBlobsThatAreObjectsAreRedirected(t *testing.T) {
	o, server := fakeStore(t)
	o.upload(t, unpackedWithAnArchive(t), "bundle")
	s := serve(t, o.place("bundle"), o.flags("--s3-redirect", "--s3-public-endpoint", "http://store.invalid:9000", "--htpasswd", htpasswdFile(t))...)
	i := pick(t, sample(t), installer)
	d := largest(t, i)
	base := "http://frodo:baggins@" + s.registry + "/v2/"
	object, packed := base+i.repository+"/blobs/"+d.String(), base+sampleRoot+"/modules/packed/blobs/"

	server.ResetCounts()
	resp, body := requestOnce(t, http.MethodGet, object, "Range", "bytes=1-2")
	to, err := url.Parse(resp.Header.Get("Location"))
	must(t, err)
	if resp.StatusCode != http.StatusTemporaryRedirect || body != "" || resp.Header.Get("Cache-Control") != "no-store" ||
		to.Host != "store.invalid:9000" || !strings.HasSuffix(to.Path, "/install/blobs/sha256/"+d.Encoded()) || to.Query().Get("X-Amz-Expires") != "300" {
		t.Errorf("got status %s, location %s, Cache-Control %q and body %q; want status 307, the URL of the object for 300 seconds, no-store and no body", resp.Status, to, resp.Header.Get("Cache-Control"), body)
	}
	for _, r := range server.Requests() { // layoutproxy's check after its start may request other keys
		if strings.HasSuffix(r.Key, d.Encoded()) {
			t.Errorf("layoutproxy requested the object before the redirect: %+v, want no request", r)
		}
	}
	if strings.Contains(to.String(), o.secret) {
		t.Errorf("the redirect reveals the secret key: %s", to)
	}
	for what, c := range map[string]struct {
		method, url string
		status      int
	}{
		"HEAD":                         {http.MethodHead, object, http.StatusOK},
		"a manifest":                   {http.MethodGet, base + i.repository + "/manifests/" + i.tag, http.StatusOK},
		"a manifest as a blob":         {http.MethodGet, base + i.repository + "/blobs/" + i.digest.String(), http.StatusOK},
		"an unknown blob":              {http.MethodGet, base + i.repository + "/blobs/sha256:" + strings.Repeat("0", 64), http.StatusNotFound},
		"an entry of an archive":       {http.MethodGet, packed + layerOf(t, base+sampleRoot+"/modules/packed/manifests/v1"), http.StatusOK},
		"a request without a login":    {http.MethodGet, strings.Replace(object, "frodo:baggins@", "", 1), http.StatusUnauthorized},
		"a blob of another repository": {http.MethodGet, packed + d.String(), http.StatusNotFound},
		"a wrong password":             {http.MethodGet, strings.Replace(object, "baggins@", "wrong@", 1), http.StatusUnauthorized},
		"PUT of a blob":                {http.MethodPut, object, http.StatusMethodNotAllowed},
	} {
		if resp, _ := requestOnce(t, c.method, c.url); resp.StatusCode != c.status || resp.Header.Get("Location") != "" {
			t.Errorf("%s: got status %s and Location %q, want status %d and no Location", what, resp.Status, resp.Header.Get("Location"), c.status)
		}
	}
}

// Without --s3-redirect, layoutproxy redirects no request.
func TestNoRedirectByDefault(t *testing.T) {
	o, _ := fakeStore(t)
	o.upload(t, bundleDir, "bundle")
	s := serve(t, o.place("bundle"), o.flags()...)
	i := pick(t, sample(t), installer)
	if resp, _ := requestOnce(t, http.MethodGet, "http://"+s.registry+"/v2/"+i.repository+"/blobs/"+largest(t, i).String()); resp.StatusCode != http.StatusOK {
		t.Error("GET of a blob without --s3-redirect: want status 200, got", resp.Status)
	}
}

// With redirects, a client gets a complete image, but no layer passes through layoutproxy.
func TestNoPayloadWithRedirects(t *testing.T) {
	o, _ := fakeStore(t)
	dir := t.TempDir()
	tree := layouttest.New(t, dir)
	l := tree.Layout("large")
	const size = 4 << 20
	i := l.Image(layouttest.Image{Name: "large", LayerSizes: []int64{size, size}})
	l.Tag(i, "v1")
	l.Write()
	o.upload(t, dir, "bundle")
	s := serve(t, o.place("bundle"), o.flags("--s3-redirect", "--root-repository", "")...)
	line := balance(t, s.registry)
	client := &patient{client: &http.Client{Transport: &http.Transport{}}}
	must(t, client.image(t.Context(), "http://"+line.address, "large:v1", i.Digest))
	if n := line.count(); n > size/8 {
		t.Errorf("with redirects, %d bytes came through layoutproxy, want at most %d", n, size/8)
	}
	plain := balance(t, serve(t, o.place("bundle"), o.flags("--root-repository", "")...).registry)
	must(t, client.image(t.Context(), "http://"+plain.address, "large:v1", i.Digest))
	if n := plain.count(); n < 2*size {
		t.Errorf("without redirects, %d bytes came through layoutproxy, want at least %d", n, 2*size)
	}
}

// unpackedWithAnArchive returns a directory with the sample and an archive of one more module.
func unpackedWithAnArchive(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bundle")
	must(t, os.CopyFS(dir, os.DirFS(bundleDir)))
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("modules/packed")
	l.Tag(l.Image(layouttest.Image{Name: "packed", LayerSizes: []int64{64 << 10}}), "v1")
	l.Write()
	tree.Archive(filepath.Join(dir, "module-packed.tar"), layouttest.Archive{})
	return dir
}

// layerOf downloads a manifest, and returns the digest of its first layer.
func layerOf(t *testing.T, url string) string {
	t.Helper()
	_, body := requestOnce(t, http.MethodGet, url)
	var m manifest
	must(t, json.Unmarshal([]byte(body), &m))
	if len(m.Layers) == 0 {
		t.Fatalf("%s: the manifest has no layers: %s", url, body)
	}
	return m.Layers[0].Digest.String()
}
