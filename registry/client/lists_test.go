package client_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// lister is a registry with a list of names. most limits the number of names on a page. link
// returns the Link header for every page but the last; nil means no Link header.
type lister struct {
	names []string
	most  int
	link  func(path, query string) string
	deaf  bool // the registry ignores the parameters n and last
	asked int
}

func (l *lister) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, "/tags/list") && !strings.HasSuffix(r.URL.Path, "/_catalog") {
		return
	}
	l.asked++
	n := l.most
	var asked int
	if _, err := fmt.Sscan(r.FormValue("n"), &asked); err == nil {
		n = min(n, asked)
	}
	from, found := slices.BinarySearch(l.names, r.FormValue("last"))
	if found {
		from++
	}
	if l.deaf {
		from, n = 0, len(l.names)
	}
	page := l.names[from:min(from+n, len(l.names))]
	if from+n < len(l.names) && l.link != nil {
		w.Header().Set("Link", l.link(r.URL.Path, fmt.Sprintf("last=%s&n=%d", page[n-1], n)))
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"tags": page, "repositories": page})
}

func someNames(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("v1.%05d", i)
	}
	return list
}

func TestListsReadAllPages(t *testing.T) {
	format := func(f string) func(path, query string) string {
		return func(path, query string) string { return strings.NewReplacer("PATH", path, "QUERY", query).Replace(f) }
	}
	for name, test := range map[string]struct {
		names, most, asked int
		link               func(path, query string) string
		deaf               bool
	}{
		"as specified":                     {11, 3, 4, format(`<PATH?QUERY>; rel="next"`), false},
		"spaces":                           {11, 3, 4, format(`<PATH?QUERY>; rel = "next"`), false},
		"Rel":                              {11, 3, 4, format(`<PATH?QUERY>; Rel=next`), false},
		"apostrophes":                      {11, 3, 4, format(`<PATH?QUERY>; rel='next'`), false},
		"no rel":                           {11, 3, 4, format(`<PATH?QUERY>`), false},
		"a comma in the URL":               {11, 3, 4, format(`<PATH?x=a,b&QUERY>; rel="next"`), false},
		"a comma in a parameter":           {11, 3, 4, format(`<PATH?QUERY>; title="a, b"; rel="next"`), false},
		"several links":                    {11, 3, 4, format(`<PATH>; rel="first", <PATH?QUERY>; rel="next"`), false},
		"wrong path":                       {11, 3, 4, format(`</registry/v2/other/tags/list?QUERY>; rel="next"`), false},
		"another host":                     {11, 3, 4, format(`<http://10.0.0.1:1/v2/x/tags/list?QUERY>; rel="next"`), false},
		"internal host":                    {11, 3, 4, format(`<http://registry:5000PATH?QUERY>; rel="next"`), false},
		"full last page":                   {12, 3, 5, format(`<PATH?QUERY>; rel="next"`), false},
		"no brackets":                      {11, 3, 4, format(`PATH?QUERY; rel="next"`), false},
		"no query":                         {11, 3, 4, format(`<PATH>; rel="next"`), false},
		"no URL":                           {11, 3, 4, format(`<http://[?QUERY>; rel="next"`), false},
		"no Link":                          {1500, 1000, 2, nil, false},
		"no Link, but a full last page":    {2000, 1000, 3, nil, false},
		"short page without a Link":        {12, 100, 1, nil, false},
		"n and last are ignored":           {1500, 0, 2, nil, true},
		"n and last are ignored, one page": {12, 0, 1, nil, true},
		"Link headers on some pages only": {250, 100, 3, func() func(string, string) string {
			given := 0
			return func(path, query string) string {
				if given++; given%2 == 0 {
					return ""
				}
				return format(`<PATH?QUERY>; rel="next"`)(path, query)
			}
		}(), false},
	} {
		t.Run(name, func(t *testing.T) {
			l := &lister{someNames(test.names), test.most, test.link, test.deaf, 0}
			c := dial(t, registrytest.New(t, registrytest.Options{Handler: l}))
			got, err := c.Tags(t.Context(), "x")
			if err != nil || !slices.Equal(got, l.names) {
				t.Errorf("Tags returned %d names and the error %[3]v, want all %[2]d names", len(got), len(l.names), err)
			}
			if l.asked != test.asked {
				t.Errorf("the client requested %d pages, want %d", l.asked, test.asked)
			}
			if strings.HasPrefix(name, "Link headers on some") {
				return // this case's link function counts its calls, so it works only once
			}
			if got, err = c.Catalog(t.Context()); err != nil || !slices.Equal(got, l.names) {
				t.Errorf("Catalog returned %d names and the error %[3]v, want all %[2]d names", len(got), len(l.names), err)
			}
		})
	}
}

func TestMalformedLists(t *testing.T) {
	for _, body := range []string{"", "<html>log in</html>", "{}", `{"errors":[]}`, `{"tags":{}}`, `{"tags":[1]}`, `[]`} {
		c := dial(t, registrytest.New(t, registrytest.Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/" {
				fmt.Fprint(w, body)
			}
		})}))
		_, err := c.Tags(t.Context(), "x")
		wantCause(t, err, client.ErrMismatch)
		if !client.IsInconclusive(err) {
			t.Errorf("after the answer %q, IsInconclusive of the error %v is false, want true", body, err)
		}
	}
}

// crane's registry cuts lists off at n entries and sends no Link header. The client still reads
// the complete list.
func TestListsOfCraneRegistry(t *testing.T) {
	c := dial(t, registrytest.New(t, registrytest.Options{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}))
	want := []string{"v1", "v2", "v3"}
	for _, tag := range want {
		image(t, c, "x", tag)
	}
	if got, err := c.Tags(t.Context(), "x"); err != nil || !slices.Equal(got, want) {
		t.Errorf("Tags = %q, error %v; want v1, v2 and v3", got, err)
	}
}

// If a registry refuses to list referrers, or fails to, the client reads the referrers tag
// instead. It reports once that the list may be incomplete.
func TestRefusedReferrers(t *testing.T) {
	for _, status := range []int{401, 403, 500, 502, 503} {
		r := registrytest.New(t, registrytest.Options{})
		var noticed []error
		c := dial(t, r, func(o *client.Options) {
			o.Retries, o.Noticed = 1, func(err error) { noticed = append(noticed, err) }
		})
		m := image(t, c, "x", "v1")
		r.Inject(registrytest.Answer(registrytest.On("GET referrers"), status))
		r.Forget()
		found, err := c.Referrers(t.Context(), "x", m.Digest)
		if err != nil || found.Unknown == nil || found.API || len(found.List) != 0 {
			t.Errorf("with the status %d, the referrers are %+v (error %v), want an incomplete empty list", status, found, err)
		}
		wantCause(t, found.Unknown, map[int]error{401: client.ErrUnauthorized, 403: client.ErrDenied, 500: client.ErrServer, 502: client.ErrServer, 503: client.ErrServer}[status])
		index := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
			specs.MediaTypeImageIndex, m.MediaType, m.Digest, len(m.Body))
		body := client.Manifest{MediaType: specs.MediaTypeImageIndex, Digest: digest.FromString(index), Body: []byte(index)}
		if _, err := c.PutManifest(t.Context(), "x", names.ReferrersTag(m.Digest), body); err != nil {
			t.Fatal(err)
		}
		found, err = c.Referrers(t.Context(), "x", m.Digest)
		if err != nil || len(found.List) != 1 || found.List[0].Digest != m.Digest {
			t.Errorf("with the status %d and a referrers tag, the referrers are %+v (error %v), want the complete list in the tag", status, found, err)
		}
		if len(noticed) != 1 {
			t.Errorf("with the status %d, Noticed was called %d times, want once: %v", status, len(noticed), noticed)
		}
		// If the API failed after all retries, the client does not retry the next request to it.
		want := map[bool]int{true: 3, false: 2}[status >= 500]
		if n := r.Kinds()["GET referrers"]; n != want {
			t.Errorf("with the status %d, the client requested the API %d times, want %d", status, n, want)
		}
	}
}

func TestHeadBlobWithoutSize(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	c := dial(t, r)
	b := noise(1000, 1)
	upload(t, c, b.upload("x"), b)
	r.Inject(func(w http.ResponseWriter, req *http.Request, next http.Handler) bool {
		if req.Method != http.MethodHead {
			return false
		}
		w.Header().Set("Transfer-Encoding", "chunked") // a proxy that compresses answers sends this header
		w.WriteHeader(http.StatusOK)
		return true
	})
	if n, err := c.HeadBlob(t.Context(), "x", b.digest); err != nil || n != client.UnknownSize {
		t.Errorf("HeadBlob = %d, error %v; want UnknownSize and no error", n, err)
	}
	// If the answer to an upload is lost, the client finds the blob in the registry.
	r.Inject(registrytest.Lose(registrytest.First(1, registrytest.On("PUT uploads"))))
	other := noise(2000, 2)
	r.Forget()
	upload(t, c, other.upload("x"), other)
	if n := r.Kinds()["POST uploads"]; n != 1 {
		t.Errorf("the client started %d uploads, want 1", n)
	}
}

// The client uses a token even if its lifetime is malformed or makes no sense.
func TestStrangeTokenLifetimes(t *testing.T) {
	for life, again := range map[string]bool{
		`300`: false, `"300"`: false, `300.5`: false, `3e2`: false, `null`: false, `-5`: false, `0`: false, `"soon"`: false,
		`1e400`: false, `99999999999999999999`: false, `{"a":1}`: false, `[]`: false, `true`: false, `"NaN"`: false, `0.0000001`: true,
	} {
		asked := 0
		tokens := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				asked++
				fmt.Fprintf(w, `{"access_token":"t","expires_in":%s}`, life)
				return
			}
			if r.Header.Get("Authorization") == "" {
				w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			fmt.Fprint(w, `{"tags":[]}`)
		})
		c := dial(t, registrytest.New(t, registrytest.Options{Handler: tokens}))
		for range 2 {
			if _, err := c.Tags(t.Context(), "x"); err != nil {
				t.Errorf("%s: %v", life, err)
			}
		}
		if want := map[bool]int{true: 2, false: 1}[again]; asked != want {
			t.Errorf("with the lifetime %s, the client requested %d tokens, want %d", life, asked, want)
		}
	}
}

func TestPortsOfOtherProtocols(t *testing.T) {
	for name, test := range map[string]struct {
		plain bool
		says  string
		cause error
		text  string
	}{
		"plain HTTP":                  {false, "HTTP/1.1 400 Bad Request\r\n\r\n", client.ErrPlainHTTP, ""},
		"an HTML page":                {false, "<html><body>400 Bad Request</body></html>\r\n", client.ErrNotTLS, ""},
		"garbage":                     {false, "\x00\x01\x02\x03garbage garbage", client.ErrNotTLS, ""},
		"an SSH server":               {false, "SSH-2.0-OpenSSH_9.2\r\n", client.ErrNotTLS, ""},
		"a TLS answer to plain HTTP":  {true, "\x15\x03\x01\x00\x02\x02\x16\r\n", client.ErrRefused, "speaks TLS"},
		"an SSH answer to plain HTTP": {true, "SSH-2.0-OpenSSH_9.2\r\n", client.ErrRefused, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			retried := 0
			c, err := client.New(client.Options{
				Registry: "registry.example:5000", PlainHTTP: test.plain, Proxy: throughTo(t, test.says, test.plain),
				FirstPause: time.Millisecond, Retrying: func(error, time.Duration) { retried++ },
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			e := failure(t, c.Ping(t.Context()), test.cause)
			if retried > 0 || !strings.Contains(e.Error(), test.text) {
				t.Errorf("the error is %v after %d retries, want %q in it and no retry", e, retried, test.text)
			}
		})
	}
}
