package doctor_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/registry/doctor"
)

func TestHealthyRegistry(t *testing.T) {
	s := listen(t, bundle(t))
	for image, want := range map[string]map[string]doctor.State{
		"":                    {"tag": doctor.Skipped, "manifest": doctor.Skipped, "child": doctor.Skipped, "blob": doctor.Skipped},
		"app:v1":              {"tag": doctor.OK, "manifest": doctor.OK, "child": doctor.Skipped, "blob": doctor.OK},
		"app:nested":          {"tag": doctor.OK, "manifest": doctor.OK, "child": doctor.OK, "blob": doctor.OK},
		"app:strange":         {"tag": doctor.OK, "manifest": doctor.OK, "child": doctor.Warning, "blob": doctor.OK},
		"reg.example/app:v1":  {"tag": doctor.OK, "blob": doctor.OK},
		"localhost:80/app:v1": {"tag": doctor.OK, "blob": doctor.OK},
	} {
		t.Run(image, func(t *testing.T) {
			r := examine(t, doctor.Options{URL: s.URL + "/mirrors/a/v2/", Image: image})
			for _, name := range []string{"name", "connection", "api", "credentials", "clock"} {
				expect(t, r, name, doctor.OK)
			}
			for name, state := range want {
				expect(t, r, name, state)
			}
			if r.State == doctor.Failed || r.Content() {
				t.Errorf("the report is %+v, want no failure and Content false", r)
			}
		})
	}
	r := examine(t, doctor.Options{URL: s.URL, Image: "app:nested"})
	expect(t, r, "child", doctor.OK, "4 manifests")
	expect(t, r, "blob", doctor.OK, "layers (3)", "not checked here: use layoutproxy verify")
	expect(t, r, "hosts.toml", doctor.Skipped, "--hosts-dir")
	expect(t, examine(t, doctor.Options{URL: s.URL, Image: "app:none"}), "tag", doctor.Failed, s.URL+"/v2/app/tags/list")
}

// Some proxies remove Content-Length from answers to HEAD. A registry should send it (distribution specification,
// "Checking if content exists in the registry"), but the layer is not damaged without it.
func TestLayersOfUnknownSize(t *testing.T) {
	s := listen(t, behind(bundle(t), on("HEAD", "/blobs/", drop("Content-Length"))))
	r := examine(t, doctor.Options{URL: s.URL, Image: "app:v1"})
	expect(t, r, "blob", doctor.OK, "layers (3) are present")
	if r.Content() {
		t.Error("Content of the report = true, want false, because all layers are present")
	}
}

// If an image name has only a digest, doctor requests no tag. If it has both a tag and a digest,
// doctor pulls by the digest.
func TestImageByDigest(t *testing.T) {
	h := bundle(t)
	s := listen(t, h)
	digest := strings.Fields(step(t, examine(t, doctor.Options{URL: s.URL, Image: "app:v1"}), "manifest").Detail)[0]
	digest = strings.TrimSuffix(digest, ",")
	r := examine(t, doctor.Options{URL: s.URL, Image: "app@" + digest})
	expect(t, r, "tag", doctor.Skipped)
	expect(t, r, "blob", doctor.OK)
	r = examine(t, doctor.Options{URL: s.URL, Image: "app:nested@" + digest})
	expect(t, r, "tag", doctor.Warning, digest)
	expect(t, r, "manifest", doctor.OK, digest+", image")
	r = examine(t, doctor.Options{URL: s.URL, Image: "app@sha256:" + strings.Repeat("0", 64)})
	expect(t, r, "manifest", doctor.Failed, "404")
	if !r.Content() {
		t.Error("Content of the report = false, want true, because the manifest is missing")
	}
	s = listen(t, behind(h, on("GET", "/manifests/", damage)))
	r = examine(t, doctor.Options{URL: s.URL, Image: "app@" + digest})
	expect(t, r, "manifest", doctor.Failed, "checksum mismatch")
	if detail := step(t, r, "manifest").Detail; strings.Contains(detail, "library/") {
		t.Errorf("for a damaged manifest, the detail is %q, want nothing about library/app, because the registry has app", detail)
	}
}

// fault answers a request instead of the registry. answer is the registry's answer, which the
// fault may send or change.
type fault func(w http.ResponseWriter, req *http.Request, answer *httptest.ResponseRecorder)

func behind(h http.Handler, f fault) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, req)
		f(w, req, answer)
	})
}

func pass(w http.ResponseWriter, answer *httptest.ResponseRecorder) {
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	w.Write(answer.Body.Bytes())
}

// on returns a fault that changes the answers to requests with this method whose path contains path.
func on(method, path string, change func(answer *httptest.ResponseRecorder)) fault {
	return func(w http.ResponseWriter, req *http.Request, answer *httptest.ResponseRecorder) {
		if req.Method == method && strings.Contains(req.URL.Path, path) {
			change(answer)
		}
		pass(w, answer)
	}
}

func drop(header string) func(*httptest.ResponseRecorder) {
	return func(answer *httptest.ResponseRecorder) { answer.Header().Del(header) }
}

// damage changes a few bytes of the body, but not its length.
func damage(answer *httptest.ResponseRecorder) {
	body := bytes.Replace(answer.Body.Bytes(), []byte("sha256:"), []byte("sha256;"), 1)
	body = bytes.Replace(body, []byte("amd64"), []byte("amd46"), 1)
	answer.Body = bytes.NewBuffer(body)
}

func missing(answer *httptest.ResponseRecorder) {
	answer.Code = http.StatusNotFound
	answer.Header().Del("Content-Length")
	answer.Body = bytes.NewBufferString(`{"errors":[{"code":"BLOB_UNKNOWN","message":"gone\nfishing","detail":"archive.tar"}]}`)
}

func status(code int) func(*httptest.ResponseRecorder) {
	return func(answer *httptest.ResponseRecorder) {
		answer.Code = code
		answer.Header().Del("Content-Length")
		answer.Body = &bytes.Buffer{}
	}
}

func TestReportedFaults(t *testing.T) {
	healthy := bundle(t)
	for name, test := range map[string]struct {
		fault   fault
		step    string
		state   doctor.State
		words   []string
		content bool
	}{
		"no digest":      {on("HEAD", "/manifests/", drop("Docker-Content-Digest")), "tag", doctor.Failed, []string{"Docker-Content-Digest"}, false},
		"no type":        {on("HEAD", "/manifests/", func(a *httptest.ResponseRecorder) { a.Header()["Content-Type"] = nil }), "tag", doctor.Failed, []string{"Content-Type"}, false},
		"no tag":         {on("HEAD", "/manifests/", missing), "tag", doctor.Failed, []string{"404", "layoutproxy list"}, true},
		"no login":       {on("HEAD", "/manifests/", status(403)), "tag", doctor.Failed, []string{"403", "login"}, false},
		"a bad gateway":  {on("GET", "/manifests/", status(502)), "manifest", doctor.Failed, []string{"502"}, false},
		"a changed byte": {on("GET", "/manifests/", damage), "manifest", doctor.Failed, []string{"layoutproxy verify"}, true},
		"another type": {on("GET", "/manifests/", func(a *httptest.ResponseRecorder) {
			a.Header().Set("Content-Type", "application/vnd.oci.artifact.manifest.v1+json")
		}), "manifest", doctor.Failed, []string{"mediaType", "containerd refuses it"}, true},
		"no config":       {on("GET", "/blobs/", missing), "blob", doctor.Failed, []string{"404: BLOB_UNKNOWN: gone fishing archive.tar", "layoutproxy list"}, true},
		"a bad config":    {on("GET", "/blobs/", damage), "blob", doctor.Failed, []string{"checksum mismatch", "layoutproxy verify"}, true},
		"no layer":        {on("HEAD", "/blobs/", missing), "blob", doctor.Failed, []string{"404"}, true},
		"a short layer":   {on("HEAD", "/blobs/", func(a *httptest.ResponseRecorder) { a.Header().Set("Content-Length", "7") }), "blob", doctor.Failed, []string{"7 bytes"}, true},
		"no range":        {on("GET", "/blobs/", whole), "blob", doctor.Warning, []string{"complete blob"}, false},
		"another range":   {on("GET", "/blobs/", shifted), "blob", doctor.Failed, []string{"Content-Range"}, false},
		"a refused range": {on("GET", "/blobs/", refused), "blob", doctor.Failed, []string{"416"}, false},
		"a cut range":     {cut, "blob", doctor.Failed, []string{"layoutproxy verify"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := listen(t, behind(healthy, test.fault))
			r := examine(t, doctor.Options{URL: s.URL, Image: "app:v1"})
			expect(t, r, test.step, test.state, test.words...)
			if r.State != test.state || r.Content() != test.content {
				t.Errorf("the report has the state %s and Content %v, want %s and %v", r.State, r.Content(), test.state, test.content)
			}
		})
	}
}

func partial(a *httptest.ResponseRecorder) bool { return a.Code == http.StatusPartialContent }

func whole(a *httptest.ResponseRecorder) {
	if partial(a) {
		a.Code = http.StatusOK
	}
}

func shifted(a *httptest.ResponseRecorder) {
	if partial(a) {
		a.Header().Set("Content-Range", "bytes 0-1/2")
	}
}

func refused(a *httptest.ResponseRecorder) {
	if partial(a) {
		status(http.StatusRequestedRangeNotSatisfiable)(a)
	}
}

func cut(w http.ResponseWriter, _ *http.Request, answer *httptest.ResponseRecorder) {
	if partial(answer) {
		answer.Body.Truncate(answer.Body.Len() / 10)
	}
	pass(w, answer)
}

func TestChildOfAnotherPlatform(t *testing.T) {
	healthy := bundle(t)
	n := 0
	s := listen(t, behind(healthy, on("GET", "/manifests/", func(a *httptest.ResponseRecorder) {
		if n++; n == 4 { // The first three answers are the outer index, the index in it, and its first child. This one is the second child.
			damage(a)
		}
	})))
	r := examine(t, doctor.Options{URL: s.URL, Image: "app:nested"})
	expect(t, r, "child", doctor.Failed, "checksum mismatch")
	expect(t, r, "blob", doctor.Skipped, "depends on child")
}

func TestSpellingsOfPlatform(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the image is for Linux")
	}
	s := listen(t, bundle(t))
	expect(t, examine(t, doctor.Options{URL: s.URL, Image: "app:spelled"}), "child", doctor.OK, "2 manifests, one for")
}

func TestClockDifferences(t *testing.T) {
	healthy := bundle(t)
	for name, test := range map[string]struct {
		apart time.Duration
		state doctor.State
		words string
	}{
		"ahead":  {time.Hour, doctor.Failed, "ahead of"},
		"behind": {-time.Hour, doctor.Failed, "behind"},
		"a bit":  {time.Minute, doctor.Warning, "chrony"},
		"well":   {time.Second, doctor.OK, "differ by"},
	} {
		t.Run(name, func(t *testing.T) {
			s := listen(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				w.Header().Set("Date", time.Now().Add(test.apart).UTC().Format(http.TimeFormat))
				healthy.ServeHTTP(w, req)
			}))
			expect(t, examine(t, doctor.Options{URL: s.URL}), "clock", test.state, test.words)
		})
	}
}

func TestServersThatAreNoRegistry(t *testing.T) {
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		state  doctor.State
		word   string
	}{
		"not found": {http.NotFound, doctor.Failed, "--admin-listen"},
		"a page":    {func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) }, doctor.Warning, "without the header of a registry"},
		"failing":   {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "later", http.StatusServiceUnavailable) }, doctor.Failed, "503"},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, examine(t, doctor.Options{URL: listen(t, test.answer).URL}), "api", test.state, test.word)
		})
	}
}

func TestMalformedOptions(t *testing.T) {
	for _, o := range []doctor.Options{
		{URL: ""}, {URL: "127.0.0.1:5000"}, {URL: "ftp://a"}, {URL: "http://a:b@c"},
		{URL: "http://a", Image: "app:v1:v2"}, {URL: "http://a", Image: "APP"}, {URL: "http://a", Image: "app@sha256:0"},
		{URL: "http://a", Image: "app:"}, {URL: "http://a", Image: "reg.example/"},
	} {
		if r, err := doctor.Run(t.Context(), o); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("Run with the options %+v = %+v, error %v; want an error of one line", o, r, err)
		}
	}
}

// If an image name contains a registry, containerd sends the registry's name in the parameter ns,
// but only to other hosts. Doctor does the same. See request.addNamespace and addQuery
// (resolver.go) and RegistryHost.isProxy (registry.go) in containerd's core/remotes/docker.
func TestNamespaceParameter(t *testing.T) {
	registry := bundle(t)
	var mu sync.Mutex
	var queries []string
	s := listen(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		queries = append(queries, req.URL.RawQuery)
		mu.Unlock()
		registry.ServeHTTP(w, req)
	}))
	for host, want := range map[string]string{
		"":                               "",
		"reg.example/":                   "ns=reg.example",
		"reg.example:5000/":              "ns=reg.example%3A5000",
		s.Listener.Addr().String() + "/": "",
	} {
		queries = nil
		if r := examine(t, doctor.Options{URL: s.URL, Image: host + "app:v1", HostsDir: t.TempDir()}); step(t, r, "blob").State != doctor.OK {
			t.Errorf("for the image %sapp:v1, the steps are %+v, want the step blob ok", host, r.Steps)
		}
		mu.Lock()
		if len(queries) < 5 || slices.ContainsFunc(queries, func(query string) bool { return query != want }) {
			t.Errorf("for the image %sapp:v1, the requests had the queries %q, want at least 5, all %q", host, queries, want)
		}
		mu.Unlock()
	}
}

// A URL with an empty port means the default port. The colon is dropped from the host, so that
// the answer does not look like a redirect to another host.
func TestURLWithEmptyPort(t *testing.T) {
	if r := examine(t, doctor.Options{URL: "http://127.0.0.1:/v2/"}); r.URL != "http://127.0.0.1" {
		t.Errorf("the report is about the URL %q, want http://127.0.0.1", r.URL)
	}
}

// A name without a slash may be that of an official image. Clients request official images below
// library/, so doctor tries the name with and without library/.
func TestOfficialImageNames(t *testing.T) {
	asked := func(image string) (paths []string, r *doctor.Report) {
		s := listen(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if strings.Contains(req.URL.Path, "/manifests/") && req.Method == http.MethodHead {
				paths = append(paths, req.URL.Path)
			}
			if req.URL.Path != "/v2/" {
				w.WriteHeader(http.StatusNotFound)
			}
		}))
		r = examine(t, doctor.Options{URL: s.URL, Image: image})
		return paths, r
	}
	for image, want := range map[string]string{
		"busybox":             "/v2/busybox/manifests/latest /v2/library/busybox/manifests/latest",
		"docker.io/busybox:1": "/v2/busybox/manifests/1 /v2/library/busybox/manifests/1",
		"reg.example/busybox": "/v2/busybox/manifests/latest",
		"team/app":            "/v2/team/app/manifests/latest",
	} {
		if paths, r := asked(image); strings.Join(paths, " ") != want || !r.Content() {
			t.Errorf("for the image %s, doctor requested %q, want %q; its steps are %+v", image, paths, want, r.Steps)
		}
	}
}
