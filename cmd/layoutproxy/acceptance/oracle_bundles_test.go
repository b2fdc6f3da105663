package acceptance

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// field is the directory of a bundle that d8 wrote.
const field = projectDir + "/cmd/layoutproxy/testdata/d8"

// forms are functions that convert a bundle to the forms in which people store bundles.
var forms = map[string]func(t *testing.T, b bundleOf){
	"unchanged archives": func(t *testing.T, b bundleOf) { b.copy(t) },
	"unpacked by GNU tar": func(t *testing.T, b bundleOf) {
		for _, archive := range b.archives(t) {
			run(t, packaged(t, "tar"), "-xf", archive, "-C", b.to, "--no-same-owner", "--mode=u+rwX")
		}
	},
	"chunks cut as d8 does": func(t *testing.T, b bundleOf) {
		for n, archive := range b.copy(t) {
			cut(t, archive, n, 100_000)
		}
	},
	"chunks cut by split": func(t *testing.T, b bundleOf) {
		for _, archive := range b.copy(t) {
			run(t, packaged(t, "split"), "-b", "70000", "-d", "-a", "4", "--additional-suffix=.chunk", archive, archive+".")
			must(t, os.Remove(archive))
		}
	},
	"repacked by GNU tar in ustar format": func(t *testing.T, b bundleOf) { b.repack(t, packaged(t, "tar"), "--format=ustar", "--sort=name") },
	"repacked by GNU tar in PAX format":   func(t *testing.T, b bundleOf) { b.repack(t, packaged(t, "tar"), "--format=posix") },
	"repacked by bsdtar":                  func(t *testing.T, b bundleOf) { b.repack(t, packaged(t, "bsdtar")) },
	"repacked by bsdtar in PAX format, and cut into chunks": func(t *testing.T, b bundleOf) {
		for n, archive := range b.repack(t, packaged(t, "bsdtar"), "--format=pax") {
			cut(t, archive, n, 33_000)
		}
	},
}

// bundleOf is a bundle to convert. from is the directory of its archives. to is the directory for
// the converted copy.
type bundleOf struct{ from, to string }

func (b bundleOf) archives(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(abs(t, b.from), "*.tar"))
	if err != nil || len(found) == 0 {
		t.Fatalf("got no archives in %s (error %v), want at least one", b.from, err)
	}
	return found
}

// copy copies the archives unchanged, and returns the paths of the copies.
func (b bundleOf) copy(t *testing.T) (copies []string) {
	t.Helper()
	for _, archive := range b.archives(t) {
		file := filepath.Join(b.to, filepath.Base(archive))
		must(t, os.WriteFile(file, []byte(read(t, archive)), 0o644))
		copies = append(copies, file)
	}
	return copies
}

// repack unpacks each archive, packs it again with another tool, and returns the new archives.
func (b bundleOf) repack(t *testing.T, tool string, flags ...string) (packed []string) {
	t.Helper()
	for _, archive := range b.archives(t) {
		dir := t.TempDir()
		run(t, packaged(t, "tar"), "-xf", archive, "-C", dir, "--no-same-owner")
		file := filepath.Join(b.to, filepath.Base(archive))
		run(t, tool, append(flags, "-cf", file, "-C", dir, ".")...)
		packed = append(packed, file)
	}
	return packed
}

// cut cuts an archive into chunks as d8 does. A chunk ends with the write that reaches the limit.
// Writes, and so chunks, differ in size, in another way for each n. The last chunk may be empty.
func cut(t *testing.T, archive string, n, limit int) {
	t.Helper()
	data := []byte(read(t, archive))
	step := max(limit/2, 512)
	for part, done := 0, false; !done; part++ {
		var chunk []byte
		for len(chunk) < limit && !done {
			size := min(step-(part*131+n*977)%(step/3+1), len(data))
			chunk, data = append(chunk, data[:size]...), data[size:]
			done = size == 0
		}
		number := strconv.Itoa(part)
		must(t, os.WriteFile(archive+"."+strings.Repeat("0", max(4-len(number), 0))+number+".chunk", chunk, 0o644))
	}
	must(t, os.Remove(archive))
}

// readD8Bundle reads d8's bundle, in any form, and checks the size of the oracle.
func readD8Bundle(t *testing.T, dir string) oracle {
	t.Helper()
	o := readBundle(t, dir, sampleRoot)
	if tags, manifests, blobs := o.size(); len(o) != 27 || tags != 110 || manifests != 104 || blobs != 300 {
		t.Errorf("got an oracle of %s; want 27 repositories, 110 tags, 104 manifests, 300 blobs", o)
	}
	return o
}

// In every form, d8's bundle gives the responses that the oracle expects.
func TestD8BundleMatchesOracle(t *testing.T) {
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			form(t, bundleOf{field, dir})
			readD8Bundle(t, dir).check(t, serve(t, dir, "--root-repository", sampleRoot))
		})
	}
}

// Layouts that other tools wrote are served unchanged, both unpacked and in archives.
func TestLayoutsOfOtherToolsMatchOracle(t *testing.T) {
	source := serve(t, bundleDir)
	tree := t.TempDir()
	from := func(name string) string { return source.registry + "/" + sampleRoot + "/" + name }
	at := func(name string) string { return filepath.Join(tree, name) }
	must(t, os.MkdirAll(at("regctl"), 0o755))
	skopeo := packaged(t, "skopeo")
	for _, tag := range []string{"v1.69.3", "v1.70.1"} {
		run(t, skopeo, "--insecure-policy", "copy", "--all", "--preserve-digests", "--src-tls-verify=false", "docker://"+from("modules/console")+":v1.1.0", "oci:"+at("skopeo")+":"+tag)
		run(t, tool(t, "crane"), "pull", "--format", "oci", "--annotate-ref", from("install:"+tag), at("crane"))
		run(t, tool(t, "regctl"), "--host", "reg="+source.registry+",tls=disabled", "image", "copy", "--referrers", "--digest-tags", from("install:"+tag), "ocidir://"+at("regctl/install")+":"+tag)
		run(t, tool(t, "oras"), "copy", "-r", "--from-plain-http", from("install:"+tag), "--to-oci-layout", at("oras/install")+":"+tag)
	}
	run(t, tool(t, "oras"), "copy", "-r", "--from-plain-http", source.registry+"/"+plugin, "--to-oci-layout", at("oras/plugin")+":latest")
	for name, form := range map[string]func(t *testing.T, dir string){
		"a tree": func(t *testing.T, dir string) { must(t, os.CopyFS(dir, os.DirFS(tree))) },
		"a GNU archive": func(t *testing.T, dir string) {
			run(t, packaged(t, "tar"), "-cf", filepath.Join(dir, "tools.tar"), "-C", tree, ".")
		},
		"a bsdtar archive in chunks": func(t *testing.T, dir string) {
			run(t, packaged(t, "bsdtar"), "-cf", filepath.Join(dir, "tools.tar"), "-C", tree, ".")
			cut(t, filepath.Join(dir, "tools.tar"), 1, 50_000)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			form(t, dir)
			o := readBundle(t, dir, "tools")
			if tags, _, _ := o.size(); len(o) != 5 || tags < 9 {
				t.Errorf("got an oracle of %s; want 5 repositories and at least 9 tags", o)
			}
			o.check(t, serve(t, dir, "--root-repository", "tools"))
		})
	}
}

// The oracle detects each kind of wrong response. Otherwise, it would prove nothing.
func TestOracleDetectsWrongResponses(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "platform.tar"), []byte(read(t, filepath.Join(field, "platform.tar"))), 0o644))
	o := readBundle(t, dir, sampleRoot)
	s := serve(t, dir, "--root-repository", sampleRoot)
	o.check(t, s)
	to := &url.URL{Scheme: "http", Host: s.registry}
	for name, falsify := range map[string]func(req *http.Request, resp *http.Response, body []byte) []byte{
		"a flipped bit in a blob": func(req *http.Request, _ *http.Response, body []byte) []byte {
			if strings.Contains(req.URL.Path, "/blobs/") && len(body) > 0 {
				body[len(body)/2] ^= 1
			}
			return body
		},
		"a missing tag": func(req *http.Request, _ *http.Response, body []byte) []byte {
			if strings.HasSuffix(req.URL.Path, "/release-channel/tags/list") {
				return bytes.Replace(body, []byte(`"stable"`), []byte(`"stabel"`), 1)
			}
			return body
		},
		"a wrong digest header for a manifest": func(req *http.Request, resp *http.Response, body []byte) []byte {
			if strings.HasSuffix(req.URL.Path, "/manifests/stable") {
				resp.Header.Set("Docker-Content-Digest", "sha256:"+strings.Repeat("0", 64))
			}
			return body
		},
		"a wrong Content-Range header": func(req *http.Request, resp *http.Response, body []byte) []byte {
			if r := resp.Header.Get("Content-Range"); r != "" {
				resp.Header.Set("Content-Range", r+"0")
			}
			return body
		},
		"an extra referrer": func(req *http.Request, _ *http.Response, body []byte) []byte {
			if strings.Contains(req.URL.Path, "/referrers/") {
				return bytes.Replace(body, []byte(`"manifests":[]`), []byte(`"manifests":[{}]`), 1)
			}
			return body
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy := httputil.NewSingleHostReverseProxy(to)
			proxy.ModifyResponse = func(resp *http.Response) error {
				body, err := io.ReadAll(resp.Body)
				if err != nil || resp.Request.Method == http.MethodHead {
					return err
				}
				body = falsify(resp.Request, resp, body)
				resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
				resp.Header.Set("Content-Length", strconv.Itoa(len(body)))
				return nil
			}
			front := httptest.NewServer(proxy)
			defer front.Close()
			if len(o.examine(t, front.URL)) == 0 {
				t.Error("examine returned no differences, want at least one for the wrong response")
			}
		})
	}
}
