package acceptance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// examiner sends requests to a registry, and collects responses that the oracle does not expect.
type examiner struct {
	*testing.T
	base        string
	client      *http.Client
	asked       int
	differences []string
}

// examine requests everything in an oracle from a registry: the catalog, lists and their pages,
// tags, manifests, blobs, ranges and referrers. It returns a text for each wrong response.
func (o oracle) examine(t *testing.T, base string) []string {
	t.Helper()
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	e := &examiner{T: t, base: base, client: &http.Client{Transport: transport, Timeout: time.Minute}}
	e.list("/v2/_catalog", "repositories", slices.Sorted(maps.Keys(o)))
	for _, name := range slices.Sorted(maps.Keys(o)) {
		e.repository(name, o[name])
	}
	e.status("GET", "/v2/no/such/repository/tags/list", http.StatusNotFound)
	if e.asked < 4*len(o) {
		t.Errorf("the oracle sent only %d requests, want at least 4 per repository", e.asked)
	}
	return e.differences
}

// check fails the test if a server gives a response that the oracle does not expect.
func (o oracle) check(t *testing.T, s server) {
	t.Helper()
	for _, d := range o.examine(t, "http://"+s.registry) {
		t.Error(d)
	}
}

func (e *examiner) differ(format string, args ...any) {
	e.differences = append(e.differences, fmt.Sprintf(format, args...))
}

// do sends a request with pairs of header names and values, and reads the complete answer.
func (e *examiner) do(method, path string, header ...string) (*http.Response, []byte) {
	e.Helper()
	e.asked++
	ctx, cancel := context.WithTimeout(e.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, e.base+path, nil)
	must(e.T, err)
	for pair := range slices.Chunk(header, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	resp, err := e.client.Do(req)
	must(e.T, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		e.differ("%s %s: after %d bytes of the body, got error %v, want none", method, path, len(body), err)
	}
	return resp, body
}

func (e *examiner) status(method, path string, want int, header ...string) {
	e.Helper()
	if resp, _ := e.do(method, path, header...); resp.StatusCode != want {
		e.differ("%s %s %v: got status %s, want %d", method, path, header, resp.Status, want)
	}
}

// list reads a list in one request, and then page by page. It compares both results with want.
func (e *examiner) list(path, field string, want []string) {
	e.Helper()
	for _, query := range []string{"", "?n=1", "?n=7"} {
		var got []string
		for next, pages := path+query, 0; next != ""; pages++ {
			if pages > len(want)+1 {
				e.differ("%s%s: got %d pages and a link to one more, want at most %d pages", path, query, pages, len(want)+1)
				return
			}
			resp, body := e.do("GET", next)
			var doc map[string]json.RawMessage
			var page []string
			if json.Unmarshal(body, &doc) != nil || json.Unmarshal(doc[field], &page) != nil || resp.StatusCode != http.StatusOK {
				e.differ("%s: got status %s and body %s, want status 200 and a list in %q", next, resp.Status, body, field)
				return
			}
			got = append(got, page...)
			next, _, _ = strings.Cut(strings.TrimPrefix(resp.Header.Get("Link"), "<"), ">")
		}
		if !slices.Equal(got, want) {
			e.differ("%s%s: got list %q, want %q", path, query, got, want)
		}
	}
}

func (e *examiner) repository(name string, r *repository) {
	e.Helper()
	base := "/v2/" + name
	e.list(base+"/tags/list", "tags", slices.Sorted(maps.Keys(r.tags)))
	for tag, d := range r.tags {
		if d == made {
			resp, body := e.do("GET", base+"/manifests/"+tag)
			if got := digest.FromBytes(body).String(); resp.StatusCode != http.StatusOK || resp.Header.Get("Docker-Content-Digest") != got {
				e.differ("%s:%s: got status %s and digest header %s, want status 200 and %s", name, tag, resp.Status, resp.Header.Get("Docker-Content-Digest"), got)
			}
			continue
		}
		e.manifest(base+"/manifests/"+tag, r, d)
	}
	for d := range r.manifests {
		e.manifest(base+"/manifests/"+d.String(), r, d)
		e.referrers(base+"/referrers/"+d.String(), r.referrers(e.T, d))
	}
	for d, data := range r.blobs {
		e.blob(base+"/blobs/"+d.String(), d, data)
	}
	unknown := digest.FromString("in no bundle").String()
	e.status("GET", base+"/blobs/"+unknown, http.StatusNotFound)
	e.status("HEAD", base+"/manifests/"+unknown, http.StatusNotFound)
	e.status("PUT", base+"/manifests/v1", http.StatusMethodNotAllowed)
}

func (e *examiner) manifest(path string, r *repository, d digest.Digest) {
	e.Helper()
	want, typ := r.blobs[d], r.manifests[d].MediaType
	for _, method := range []string{"GET", "HEAD"} {
		resp, body := e.do(method, path)
		h := resp.Header
		if resp.StatusCode != http.StatusOK || h.Get("Content-Type") != typ || h.Get("Docker-Content-Digest") != d.String() || resp.ContentLength != int64(len(want)) {
			e.differ("%s %s: got status %s, type %q, digest %s, %d bytes; want status 200, type %q, digest %s, %d bytes", method, path, resp.Status, h.Get("Content-Type"), h.Get("Docker-Content-Digest"), resp.ContentLength, typ, d, len(want))
		}
		if method == "GET" && !bytes.Equal(body, want) {
			e.differ("%s: got a body of %d bytes, want the %d bytes of the manifest", path, len(body), len(want))
		}
	}
}

func (e *examiner) referrers(path string, want []ocispec.Descriptor) {
	e.Helper()
	types := []string{""}
	for _, d := range want {
		types = append(types, d.ArtifactType)
	}
	for _, typ := range append(types, "application/x.of-nothing") {
		query := ""
		if typ != "" {
			query = "?artifactType=" + url.QueryEscape(typ)
		}
		wanted := slices.DeleteFunc(slices.Clone(want), func(d ocispec.Descriptor) bool { return typ != "" && d.ArtifactType != typ })
		resp, body := e.do("GET", path+query)
		var got ocispec.Index
		if err := json.Unmarshal(body, &got); err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != ocispec.MediaTypeImageIndex {
			e.differ("%s%s: got status %s and error %v, want status 200 and an image index", path, query, resp.Status, err)
			continue
		}
		if a, b := marshal(e.T, got.Manifests), marshal(e.T, wanted); !bytes.Equal(a, b) {
			e.differ("%s%s: got referrers %s, want %s", path, query, a, b)
		}
		if applied := resp.Header.Get("OCI-Filters-Applied"); (applied == "artifactType") != (typ != "") {
			e.differ("%s%s: got OCI-Filters-Applied %q, want artifactType with a filter, and nothing without one", path, query, applied)
		}
	}
}

func (e *examiner) blob(path string, d digest.Digest, data []byte) {
	e.Helper()
	size := len(data)
	for _, method := range []string{"GET", "HEAD"} {
		resp, body := e.do(method, path)
		if resp.StatusCode != http.StatusOK || resp.ContentLength != int64(size) || resp.Header.Get("Docker-Content-Digest") != d.String() {
			e.differ("%s %s: got status %s, %d bytes, digest %s; want status 200, %d bytes, digest %s", method, path, resp.Status, resp.ContentLength, resp.Header.Get("Docker-Content-Digest"), size, d)
		}
		if method == "GET" && !bytes.Equal(body, data) {
			e.differ("%s: got a body of %d bytes, want the %d bytes of the blob", path, len(body), size)
		}
	}
	if size < 2 {
		return
	}
	middle := size / 2
	// Each value is the offset of the first byte, and the offset after the last byte.
	for header, want := range map[string][2]int{
		"bytes=0-0":                                   {0, 1},
		fmt.Sprintf("bytes=%d-", middle):              {middle, size},
		fmt.Sprintf("bytes=-%d", middle):              {size - middle, size},
		fmt.Sprintf("bytes=%d-%d", middle-1, middle):  {middle - 1, middle + 1},
		fmt.Sprintf("bytes=%d-%d", size-1, size+9999): {size - 1, size},
	} {
		resp, body := e.do("GET", path, "Range", header)
		said := fmt.Sprintf("bytes %d-%d/%d", want[0], want[1]-1, size)
		if resp.StatusCode != http.StatusPartialContent || resp.Header.Get("Content-Range") != said || !bytes.Equal(body, data[want[0]:want[1]]) {
			e.differ("%s %s: got status %s, Content-Range %q and %d bytes; want status 206, Content-Range %q and its bytes", path, header, resp.Status, resp.Header.Get("Content-Range"), len(body), said)
		}
	}
	e.status("GET", path, http.StatusRequestedRangeNotSatisfiable, "Range", fmt.Sprintf("bytes=%d-", size))
	if size > 100 {
		e.several(path, data)
	}
}

// several requests two ranges in one request, and checks the two parts of the response.
func (e *examiner) several(path string, data []byte) {
	e.Helper()
	resp, body := e.do("GET", path, "Range", fmt.Sprintf("bytes=1-20,%d-%d", len(data)-30, len(data)-1))
	_, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || resp.StatusCode != http.StatusPartialContent {
		e.differ("%s, two ranges: got status %s and error %v, want status 206 and a multipart body", path, resp.Status, err)
		return
	}
	parts := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for _, want := range [][]byte{data[1:21], data[len(data)-30:]} {
		part, err := parts.NextPart()
		if err != nil {
			e.differ("%s, two ranges: got error %v instead of a part, want two parts", path, err)
			return
		}
		if got, err := io.ReadAll(part); err != nil || !bytes.Equal(got, want) {
			e.differ("%s, two ranges: the part %s has wrong content (error %v)", path, part.Header.Get("Content-Range"), err)
		}
	}
}
