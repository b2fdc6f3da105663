package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

func manifest(config, layer blob) client.Manifest {
	body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		specs.MediaTypeImageManifest, specs.MediaTypeImageConfig, config.digest, len(config.data), specs.MediaTypeImageLayer, layer.digest, len(layer.data))
	return client.Manifest{MediaType: specs.MediaTypeImageManifest, Digest: digest.FromString(body), Body: []byte(body)}
}

func TestManifestAndHeadManifest(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	current := goleak.IgnoreCurrent()
	c := dial(t, r)
	want := image(t, c, "a/b", "v1")
	for _, reference := range []string{"v1", want.Digest.String()} {
		got, err := c.Manifest(t.Context(), "a/b", reference)
		if err != nil || got.Digest != want.Digest || got.MediaType != want.MediaType || string(got.Body) != string(want.Body) {
			t.Errorf("Manifest(%s) = %+v, error %v; want the pushed manifest", reference, got, err)
		}
		d, err := c.HeadManifest(t.Context(), "a/b", reference)
		if err != nil || d.Digest != want.Digest || d.Size != int64(len(want.Body)) || d.MediaType != want.MediaType {
			t.Errorf("HeadManifest(%s) = %+v, error %v; want the descriptor of the pushed manifest", reference, d, err)
		}
	}
	_, err := c.Manifest(t.Context(), "a/b", "nothing")
	e := failure(t, err, client.ErrNotFound)
	if !e.HasCode("MANIFEST_UNKNOWN") || e.Repository != "a/b" || e.Reference != "nothing" {
		t.Errorf("the error is %+v, want the code MANIFEST_UNKNOWN, the repository a/b and the reference nothing", e)
	}
	_, err = c.HeadManifest(t.Context(), "nowhere", "x")
	wantCause(t, err, client.ErrNotFound)
	c.Close()
	r.CloseClientConnections()
	goleak.VerifyNone(t, current)
}

func TestWrongManifestDigests(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	c := dial(t, r)
	m := image(t, c, "x", "v1")
	other := digest.FromString("other")
	fault := registrytest.Edit(registrytest.On("GET manifests"), func(h http.Header) { h.Set("Docker-Content-Digest", other.String()) })
	r.Inject(fault)
	for _, reference := range []string{"v1", m.Digest.String()} {
		_, err := c.Manifest(t.Context(), "x", reference)
		wantCause(t, err, client.ErrMismatch)
	}
	r.Inject(registrytest.Edit(registrytest.On("HEAD manifests"), func(h http.Header) { h.Set("Docker-Content-Digest", other.String()) }))
	_, err := c.HeadManifest(t.Context(), "x", m.Digest.String())
	wantCause(t, err, client.ErrMismatch)
	r.Inject(registrytest.Edit(registrytest.On("PUT manifests"), func(h http.Header) { h.Set("Docker-Content-Digest", other.String()) }))
	_, err = c.PutManifest(t.Context(), "x", "v2", m)
	wantCause(t, err, client.ErrMismatch)
}

func TestHeadManifestWithoutDigest(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	c := dial(t, r)
	m := image(t, c, "x", "v1")
	r.Inject(registrytest.Edit(registrytest.On("HEAD manifests"), func(h http.Header) { h.Del("Docker-Content-Digest") }))
	d, err := c.HeadManifest(t.Context(), "x", "v1")
	if err != nil || d.Digest != m.Digest || d.Size != int64(len(m.Body)) {
		t.Errorf("HeadManifest = %+v, error %v; want the descriptor of the pushed manifest", d, err)
	}
}

func TestListsFollowLinkHeaders(t *testing.T) {
	const tags = 2500
	pages := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		var from int
		_, _ = fmt.Sscan(r.FormValue("last"), &from)
		var names []string
		for i := from + 1; i <= min(from+1000, tags); i++ {
			names = append(names, fmt.Sprint(i))
		}
		if from+1000 < tags {
			w.Header().Set("Link", fmt.Sprintf(`<%s?n=1000&last=%d>; rel="next"`, r.URL.Path, from+1000))
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"tags": names, "repositories": names})
	})
	c := dial(t, registrytest.New(t, registrytest.Options{Handler: pages}))
	got, err := c.Tags(t.Context(), "x")
	if err != nil || len(got) != tags || got[tags-1] != fmt.Sprint(tags) {
		t.Errorf("Tags returned %d tags (error %v), want %d", len(got), err, tags)
	}
	if got, err = c.Catalog(t.Context()); err != nil || len(got) != tags {
		t.Errorf("Catalog returned %d names (error %v), want %d", len(got), err, tags)
	}
}

func TestListsOfDistributionRegistry(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	c := dial(t, r)
	for _, repository := range []string{"a", "b/c"} {
		image(t, c, repository, "v1")
		image(t, c, repository, "v2")
	}
	tags, err := c.Tags(t.Context(), "b/c")
	if err != nil || !slices.Equal(tags, []string{"v1", "v2"}) {
		t.Errorf("Tags = %q, error %v; want v1 and v2", tags, err)
	}
	repositories, err := c.Catalog(t.Context())
	if err != nil || !slices.Equal(repositories, []string{"a", "b/c"}) {
		t.Errorf("Catalog = %q, error %v; want a and b/c", repositories, err)
	}
	_, err = c.Tags(t.Context(), "nowhere")
	wantCause(t, err, client.ErrNotFound)
}

// If a list is endless or too long, the error gives the reason. The client does not use the
// referrers tag instead, because that tag may list fewer referrers.
func TestEndlessLists(t *testing.T) {
	subject := digest.FromString("subject")
	long := strings.Repeat("x", 1<<14)
	list := func(n int, entry string) string { return strings.TrimSuffix(strings.Repeat(entry+",", n), ",") }
	onward := func(page int) string { return fmt.Sprint("&last=", page) }
	for name, test := range map[string]struct {
		link func(page int) string
		// names and referrers are the entries of each page.
		names, referrers string
		want             string
		// quick contains the kinds of lists that the quick test tier reads.
		quick string
	}{
		"a loop":       {func(int) string { return "" }, "", "", "loop", "tags, catalog, referrers"},
		"empty pages":  {onward, "", "", "more than 10000 pages", ""},
		"many entries": {onward, list(400_000, `"a"`), list(30_000, `{}`), "entries", "tags, referrers"},
		"many bytes":   {onward, list(64, `"`+long+`"`), list(64, `{"artifactType":"`+long+`"}`), "bytes", "referrers"},
		"long links":   {func(page int) string { return onward(page) + strings.Repeat("y", 1<<17) }, "", "", "bytes", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, registrytest.New(t, registrytest.Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v2/" {
					return
				}
				var page int
				_, _ = fmt.Sscan(r.FormValue("last"), &page)
				w.Header().Set("Link", fmt.Sprintf(`<%s?n=1000%s>; rel="next"`, r.URL.Path, test.link(page+1)))
				field, entries := "tags", test.names
				switch {
				case strings.Contains(r.URL.Path, "referrers"):
					field, entries = "manifests", test.referrers
				case strings.HasSuffix(r.URL.Path, "/_catalog"):
					field = "repositories"
				}
				fmt.Fprintf(w, `{%q:[%s]}`, field, entries)
			})}))
			for kind, list := range map[string]func() error{
				"tags":      func() error { _, err := c.Tags(t.Context(), "x"); return err },
				"catalog":   func() error { _, err := c.Catalog(t.Context()); return err },
				"referrers": func() error { _, err := c.Referrers(t.Context(), "x", subject); return err },
			} {
				if os.Getenv("LAYOUTPROXY_TEST_ALL") == "" && !strings.Contains(test.quick, kind) {
					continue // the quick tier skips this kind: all kinds share most limits, and reaching a limit is expensive
				}
				err := list()
				wantCause(t, err, client.ErrTooMany)
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("reading the list of %s: got the error %v, want %q in it", kind, err, test.want)
				}
			}
		})
	}
}

// Distribution's registry has no referrers API, so the client reads the referrers tag.
func TestReferrersByTag(t *testing.T) {
	c := dial(t, registrytest.New(t, registrytest.Options{}))
	m := image(t, c, "x", "v1")
	found, err := c.Referrers(t.Context(), "x", m.Digest)
	if err != nil || found.API || len(found.List) != 0 {
		t.Errorf("without a referrers tag, Referrers = %+v, error %v; want an empty list, not from the API", found, err)
	}
	index := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		specs.MediaTypeImageIndex, m.MediaType, m.Digest, len(m.Body))
	body := client.Manifest{MediaType: specs.MediaTypeImageIndex, Digest: digest.FromString(index), Body: []byte(index)}
	if _, err := c.PutManifest(t.Context(), "x", names.ReferrersTag(m.Digest), body); err != nil {
		t.Fatal(err)
	}
	found, err = c.Referrers(t.Context(), "x", m.Digest)
	if err != nil || found.API || len(found.List) != 1 || found.List[0].Digest != m.Digest {
		t.Errorf("Referrers = %+v, error %v; want the one referrer in the referrers tag, not from the API", found, err)
	}
}

func TestReferrersByAPI(t *testing.T) {
	want := digest.FromString("x")
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/referrers/") {
			_ = json.NewEncoder(w).Encode(specs.Index{Manifests: []specs.Descriptor{{Digest: want, Size: 1}}})
		}
	})
	c := dial(t, registrytest.New(t, registrytest.Options{Handler: handler}))
	found, err := c.Referrers(t.Context(), "x", want)
	if err != nil || !found.API || len(found.List) != 1 || found.List[0].Digest != want {
		t.Errorf("Referrers = %+v, error %v; want one referrer from the API", found, err)
	}
}

// The client retries temporary failures. Of the 4xx responses, it retries 408, and 429 unless Retry-After is too long.
func TestRetries(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault registrytest.Fault
		cause error // cause of the expected error; nil if a retry succeeds
		asked int
	}{
		{"500 twice", registrytest.Answer(registrytest.First(2, registrytest.On("GET manifests")), 500), nil, 3},
		{"502 once", registrytest.Answer(registrytest.First(1, registrytest.On("GET manifests")), 502), nil, 2},
		{"429 with Retry-After", registrytest.Answer(registrytest.First(1, registrytest.On("GET manifests")), 429, "Retry-After: 0"), nil, 2},
		{"lost answer", registrytest.Lose(registrytest.First(1, registrytest.On("GET manifests"))), nil, 2},
		{"answer cut", registrytest.Truncate(registrytest.First(1, registrytest.On("GET manifests")), 10), nil, 2},
		{"503 forever", registrytest.Answer(registrytest.On("GET manifests"), 503), client.ErrServer, 4},
		{"429 forever", registrytest.Answer(registrytest.On("GET manifests"), 429), client.ErrRateLimited, 4},
		{"a quota", registrytest.Answer(registrytest.On("GET manifests"), 429, "Retry-After: 3600"), client.ErrRateLimited, 1},
		{"403", registrytest.Answer(registrytest.On("GET manifests"), 403), client.ErrDenied, 1},
		{"400", registrytest.AnswerCode(registrytest.On("GET manifests"), 400, "UNSUPPORTED"), client.ErrRefused, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := registrytest.New(t, registrytest.Options{})
			c := dial(t, r, func(o *client.Options) { o.Retries = 3 })
			want := image(t, c, "x", "v1")
			r.Forget()
			r.Inject(test.fault)
			got, err := c.Manifest(t.Context(), "x", "v1")
			if test.cause != nil {
				wantCause(t, err, test.cause)
			} else if err != nil || got.Digest != want.Digest {
				t.Errorf("Manifest returned the digest %v (error %v), want the pushed manifest after retries", got.Digest, err)
			}
			if n := r.Kinds()["GET manifests"]; n != test.asked {
				t.Errorf("the client sent %d requests, want %d", n, test.asked)
			}
		})
	}
}

func TestStalledRequests(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	want := image(t, dial(t, r), "x", "v1")
	// Even on a slow machine, one of the many tries is answered before the timeout.
	many := dial(t, r, func(o *client.Options) { o.Silence, o.Retries, o.Clock = 50*time.Millisecond, 1000, newFakeClock() })
	once, release := registrytest.Stall(registrytest.First(1, registrytest.On("GET manifests")))
	defer release()
	r.Inject(once)
	got, err := many.Manifest(t.Context(), "x", "v1")
	if err != nil || got.Digest != want.Digest {
		t.Errorf("Manifest returned the digest %v (error %v), want the pushed manifest after the stalled try", got.Digest, err)
	}
	if n := r.Kinds()["GET manifests"]; n < 2 {
		t.Errorf("the client sent %d requests, want at least 2, because the first one gets no answer", n)
	}
	few := dial(t, r, func(o *client.Options) { o.Silence, o.Retries = 50*time.Millisecond, 2 })
	always, release := registrytest.Stall(registrytest.On("GET manifests"))
	defer release()
	r.Inject(always)
	_, err = few.Manifest(t.Context(), "x", "v1")
	wantCause(t, err, client.ErrStalled)
}

func TestUnreachableRegistry(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	r.Close()
	asked := 0
	c := dial(t, r, func(o *client.Options) { o.Retrying = func(error, time.Duration) { asked++ } })
	e := failure(t, c.Ping(t.Context()), client.ErrUnreachable)
	if e.Side != client.SideNetwork || asked > 0 {
		t.Errorf("got the error %v with the side %s after %d retries, want the side network and no retry, because the address may be wrong", e, e.Side, asked)
	}
	if strings.Contains(e.Error(), "http://") {
		t.Errorf("the error contains a URL, want none, because it may contain a secret: %v", e)
	}
}

func TestCancelledRequestsEndAtOnce(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	c := dial(t, r, func(o *client.Options) { o.Jobs = 1 })
	image(t, c, "x", "v1")
	stall, release := registrytest.Stall(registrytest.On("GET manifests"))
	defer release()
	r.Inject(stall)
	ctx, cancel := contextWithCancel(t)
	done := make(chan error, 2)
	for range 2 { // the second request waits for a slot
		go func() {
			_, err := c.Manifest(ctx, "x", "v1")
			done <- err
		}()
	}
	cancel()
	for range 2 {
		if err := <-done; !errors.Is(err, ctx.Err()) {
			t.Errorf("a cancelled request returned the error %v, want the context's error", err)
		}
	}
}
