package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// page returns an HTML page instead of the body, like the login page of a hotel's network.
func page([]byte) []byte { return []byte("<html>Welcome to the hotel</html>") }

// wrongAnswer describes a request to a registry that has an image x:v1, and how its answer is
// corrupted.
type wrongAnswer struct {
	kind  string // kind of the request, such as "GET tags"
	spoil func([]byte) []byte
	// header edits the answer's header. nil means that the header stays as it is.
	header func(http.Header)
	ask    func(ctx context.Context, c *client.Client, m client.Manifest) error
	says   string // part of the expected error; empty if the client succeeds even after three wrong answers
}

func wrongAnswers() map[string]wrongAnswer {
	byDigest := func(ctx context.Context, c *client.Client, m client.Manifest) error {
		_, err := c.Manifest(ctx, "x", m.Digest.String())
		return err
	}
	byTag := func(ctx context.Context, c *client.Client, _ client.Manifest) error {
		_, err := c.Manifest(ctx, "x", "v1")
		return err
	}
	tags := func(ctx context.Context, c *client.Client, _ client.Manifest) error {
		list, err := c.Tags(ctx, "x")
		if err == nil && !slices.Equal(list, []string{"v1"}) {
			return fmt.Errorf("tags %q", list)
		}
		return err
	}
	layer := func(offset int64) func(context.Context, *client.Client, client.Manifest) error {
		return func(ctx context.Context, c *client.Client, _ client.Manifest) error {
			b := noise(3000, 2)
			r, err := c.Blob(ctx, "x", b.digest, 3000, offset)
			if err != nil {
				return err
			}
			defer r.Close()
			got, err := io.ReadAll(r)
			if err == nil && !bytes.Equal(got, b.data[offset:]) {
				return errors.New("other bytes")
			}
			return err
		}
	}
	undigested := func(h http.Header) { h.Del("Docker-Content-Digest") }
	ranged := func(value string) func(http.Header) {
		return func(h http.Header) { h.Set("Content-Range", value) }
	}
	return map[string]wrongAnswer{
		"a flipped bit in a manifest by digest":                {"GET manifests", registrytest.FlipBit, nil, byDigest, "checksum mismatch: content ("},
		"a flipped bit in a manifest by tag":                   {"GET manifests", registrytest.FlipBit, nil, byTag, "checksum mismatch: content ("},
		"a truncated manifest by digest":                       {"GET manifests", registrytest.CutHalf, nil, byDigest, " is sha256:"},
		"a truncated manifest by tag, without a digest":        {"GET manifests", registrytest.CutHalf, undigested, byTag, "are not JSON"},
		"an HTML page instead of a manifest, without a digest": {"GET manifests", page, undigested, byTag, "malformed manifest: 33 bytes"},
		"the digest of another manifest":                       {"GET manifests", slices.Clone[[]byte], func(h http.Header) { h.Set("Docker-Content-Digest", digest.FromString("").String()) }, byDigest, "the registry reports the digest sha256:e3b0"},
		"a truncated list of tags":                             {"GET tags", registrytest.CutHalf, nil, tags, "malformed list"},
		"an HTML page instead of a list of tags":               {"GET tags", page, nil, tags, "33 bytes"},
		"an object without tags":                               {"GET tags", func([]byte) []byte { return []byte("{}") }, nil, tags, "malformed list: no entries"},
		"a short blob":                                         {"GET blobs", registrytest.CutHalf, nil, layer(0), "the answer has 1500 bytes, expected 3000"},
		"a long blob":                                          {"GET blobs", func(b []byte) []byte { return append(slices.Clone(b), 0) }, nil, layer(0), "the answer has 3001 bytes"},
		"a range of another blob":                              {"GET blobs", slices.Clone[[]byte], ranged("bytes 1000-2999/4000"), layer(1000), ""},
		"another range":                                        {"GET blobs", slices.Clone[[]byte], ranged("bytes 0-2999/3000"), layer(1000), ""},
		"the short rest of a blob":                             {"GET blobs", registrytest.CutHalf, nil, layer(1000), "the answer has 1500 bytes, expected 3000"},
	}
}

// faulty is a registry with an image x:v1. A fault in front of it corrupts answers.
type faulty struct {
	*registrytest.Registry
	image client.Manifest
	fault registrytest.Fault
	fresh []string // the Cache-Control headers of the requests of the tested kind
}

func newFaulty(t *testing.T) *faulty {
	d := &faulty{Registry: registrytest.New(t, registrytest.Options{})}
	d.image = image(t, dial(t, d.Registry), "x", "v1")
	d.Inject(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool { return d.fault(w, r, next) })
	return d
}

// spoils makes the registry corrupt its answers to those requests of kind q.kind that m matches.
func (d *faulty) spoils(q wrongAnswer, m registrytest.Match) {
	d.fresh = nil
	spoil := registrytest.Spoil(func(r *http.Request) bool { return registrytest.On(q.kind)(r) && m(r) }, q.spoil)
	d.fault = func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if registrytest.On(q.kind)(r) {
			d.fresh = append(d.fresh, r.Header.Get("Cache-Control"))
		}
		return spoil(w, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			if q.header != nil {
				q.header(w.Header())
			}
		}))
	}
}

// If an answer is wrong, the client repeats the request twice and bypasses caches, whatever
// Options.Retries is. The request fails only if all three answers are wrong.
func TestWrongAnswers(t *testing.T) {
	d := newFaulty(t)
	for name, q := range wrongAnswers() {
		for _, test := range []struct{ wrong, retries int }{{1, -1}, {2, 5}, {1 << 30, -1}} {
			t.Run(fmt.Sprintf("%s: %d wrong answers", name, test.wrong), func(t *testing.T) {
				d.spoils(q, registrytest.First(test.wrong, func(*http.Request) bool { return true }))
				clock := newFakeClock()
				c := dial(t, d.Registry, func(o *client.Options) {
					o.Clock, o.Retries, o.FirstPause = clock, test.retries, time.Hour
				})
				err := q.ask(t.Context(), c, d.image)
				if want := []string{"", "no-cache", "no-cache"}[:min(test.wrong, 2)+1]; !slices.Equal(d.fresh, want) {
					t.Errorf("the requests had Cache-Control %q, want %q", d.fresh, want)
				}
				if clock.Now().Equal(clock.start) {
					t.Error("the client repeated the request without a pause, want a pause before each retry")
				}
				if test.wrong <= 2 || q.says == "" {
					if err != nil {
						t.Error(err)
					}
					return
				}
				wantCause(t, err, client.ErrMismatch)
				for _, words := range []string{q.says, d.Host, " x", "(asked 3 times)"} {
					if !strings.Contains(err.Error(), words) {
						t.Errorf("the error is %v, want %q in it", err, words)
					}
				}
			})
		}
	}
}

// If only the answers of a cache are wrong, each request succeeds.
func TestWrongAnswersOfACache(t *testing.T) {
	d := newFaulty(t)
	for name, q := range wrongAnswers() {
		t.Run(name, func(t *testing.T) {
			d.spoils(q, func(r *http.Request) bool { return r.Header.Get("Cache-Control") != "no-cache" })
			c := dial(t, d.Registry)
			for range 3 {
				if err := q.ask(t.Context(), c, d.image); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestWrongTokens(t *testing.T) {
	for _, wrong := range []int{1, 2, 3} {
		for name, answer := range map[string]string{"cut": `{"token":"abc`, "empty": "{}", "a page": "<html>"} {
			t.Run(fmt.Sprintf("%s: %d", name, wrong), func(t *testing.T) {
				asked := 0
				w := newWorld(t, "registry.example")
				w.answer = func(rw http.ResponseWriter, r *http.Request, _ string) {
					switch {
					case r.URL.Path == "/token":
						if asked++; asked <= wrong {
							fmt.Fprint(rw, answer)
							return
						}
						fmt.Fprint(rw, `{"token":"good"}`)
					case r.Header.Get("Authorization") != "Bearer good":
						rw.Header().Set("WWW-Authenticate", `Bearer realm="http://registry.example/token",service="s"`)
						rw.WriteHeader(http.StatusUnauthorized)
					default:
						fmt.Fprint(rw, `{"tags":["v1"]}`)
					}
				}
				c := w.client(t, "registry.example", "http", user)
				_, err := c.Tags(t.Context(), "x")
				if wrong <= 2 {
					if err != nil {
						t.Error(err)
					}
				} else if e := failure(t, err, client.ErrRefused); e.Side != client.SideToken {
					t.Errorf("the error's side is %s, want the token server", e.Side)
				}
				if want := min(wrong+1, 3); asked != want {
					t.Errorf("the client requested a token %d times, want %d", asked, want)
				}
			})
		}
	}
}

// If the registry has the referrers API, the client does not take a corrupted list for an empty
// one. If the registry's answers are always wrong, the client stops retrying after the first list.
func TestWrongReferrers(t *testing.T) {
	subject := digest.FromString("subject")
	list := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		_ = json.NewEncoder(w).Encode(map[string]any{"manifests": []map[string]any{{"digest": subject, "size": 1}}})
	}
	asked, wrong := 0, 0
	r := registrytest.New(t, registrytest.Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !strings.Contains(r.URL.Path, "/referrers/"):
			if r.URL.Path != "/v2/" {
				w.WriteHeader(http.StatusNotFound)
			}
		default:
			if asked++; asked <= wrong {
				fmt.Fprint(w, `{"manifests":[{"dig`)
				return
			}
			list(w)
		}
	})})
	ask := func(c *client.Client) (int, error) {
		found, err := c.Referrers(t.Context(), "x", subject)
		return len(found.List), err
	}
	c := dial(t, r)
	wrong = 2
	if n, err := ask(c); n != 1 || err != nil || asked != 3 {
		t.Errorf("the client found %d referrers after %d requests (error %v), want 1 referrer after 3 requests", n, asked, err)
	}
	asked, wrong = 0, 1<<30
	n, err := ask(c)
	wantCause(t, err, client.ErrMismatch)
	if n != 0 || asked != 3 {
		t.Errorf("the client found %d referrers after %d requests, want 0 referrers after 3 requests", n, asked)
	}
	asked, c = 0, dial(t, r)
	for range 5 {
		if _, err := ask(c); err != nil {
			t.Error(err)
		}
	}
	if asked != 3+4 {
		t.Errorf("for 5 lists, the client sent %d requests to a registry with wrong answers, want 7", asked)
	}
}
