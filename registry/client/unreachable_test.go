package client_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// fakeClock is a clock that advances only when Sleep is called.
type fakeClock struct {
	mu     sync.Mutex
	now    time.Time
	passed func(time.Duration) // called by Sleep with the time since the start; may be nil
	start  time.Time
}

func newFakeClock() *fakeClock {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return &fakeClock{now: start, start: start}
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	c.now = c.now.Add(d)
	since := c.now.Sub(c.start)
	c.mu.Unlock()
	if c.passed != nil {
		c.passed(since)
	}
	return ctx.Err()
}

// closedPort returns an address that refuses connections until the test ends. It is the local
// address of a connected client. It is not the port of a closed listener, because another process
// could open that port.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().String()
}

// If a call cannot connect to the registry, it retries for two minutes, even if Options.Retries is
// 1, and reports failures at intervals. When the registry is back, the call succeeds.
func TestUnreachableRegistryIsAwaited(t *testing.T) {
	for _, test := range []struct {
		away time.Duration
		back bool
	}{
		{25 * time.Second, true}, {110 * time.Second, true}, {time.Hour, false},
	} {
		t.Run(fmt.Sprint(test.away), func(t *testing.T) {
			r := registrytest.New(t, registrytest.Options{})
			clock, dead := newFakeClock(), &url.URL{Scheme: "http", Host: closedPort(t)}
			var away atomic.Bool
			var lines []time.Duration
			c := dial(t, r, func(o *client.Options) {
				o.Clock, o.Retries, o.FirstPause = clock, 1, 500*time.Millisecond
				o.Proxy = func(*http.Request) (*url.URL, error) {
					if away.Load() {
						return dead, nil
					}
					return nil, nil
				}
				o.Retrying = func(error, time.Duration) { lines = append(lines, clock.Now().Sub(clock.start)) }
			})
			want := image(t, c, "x", "v1")
			away.Store(true)
			clock.passed = func(since time.Duration) { away.Store(since < test.away) }
			got, err := c.Manifest(t.Context(), "x", "v1")
			if test.back && (err != nil || got.Digest != want.Digest) {
				t.Errorf("Manifest returned the digest %v (error %v), want the pushed manifest once the registry is back", got.Digest, err)
			}
			if !test.back {
				wantCause(t, err, client.ErrUnreachable)
			}
			waited := clock.Now().Sub(clock.start)
			if limit := min(test.away, 2*time.Minute); waited < limit || waited > limit+5*time.Second {
				t.Errorf("the client waited for %s, want %s, or up to 5 seconds more", waited, limit)
			}
			for i, at := range lines {
				if i > 0 && at-lines[i-1] < 10*time.Second {
					t.Errorf("failures were reported at %v, want at least 10 seconds between two reports", lines)
				}
			}
			if most := int(waited/(15*time.Second)) + 1; len(lines) < most {
				t.Errorf("got %d reports in %s, want at least one per 15 seconds: %v", len(lines), waited, lines)
			}
		})
	}
}

// Each progress of an upload restarts the two minutes, so the upload may wait longer in total.
func TestUploadAwaitsUnreachableRegistry(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	clock, dead := newFakeClock(), &url.URL{Scheme: "http", Host: closedPort(t)}
	var away atomic.Bool
	var returns atomic.Int64
	clock.passed = func(since time.Duration) { away.Store(int64(since) < returns.Load()) }
	c := dial(t, r, func(o *client.Options) {
		o.Clock, o.Retries = clock, 4
		o.Proxy = func(*http.Request) (*url.URL, error) {
			if away.Load() {
				return dead, nil
			}
			return nil, nil
		}
	})
	interrupted := registrytest.First(3, registrytest.On("PATCH uploads"))
	cut := registrytest.Reset(func(*http.Request) bool { return true }, streamFrom/4)
	r.Inject(func(w http.ResponseWriter, req *http.Request, next http.Handler) bool {
		if !interrupted(req) {
			return false
		}
		// The registry becomes unreachable before the connection is cut, because the client tries
		// again as soon as it is cut.
		returns.Store(int64(clock.Now().Sub(clock.start) + 90*time.Second))
		away.Store(true)
		return cut(w, req, next)
	})
	b := big()
	upload(t, c, b.upload("x"), b)
	if waited := clock.Now().Sub(clock.start); waited < 3*90*time.Second {
		t.Errorf("the client waited for %s, want at least 4m30s", waited)
	}
}

// The client does not retry the first contact, because a failure usually means a wrong address.
func TestFirstContactIsNotAwaited(t *testing.T) {
	clock := newFakeClock()
	c := dial(t, registrytest.New(t, registrytest.Options{}), func(o *client.Options) { o.Registry, o.Clock = closedPort(t), clock })
	wantCause(t, c.Ping(t.Context()), client.ErrUnreachable)
	if waited := clock.Now().Sub(clock.start); waited > 0 {
		t.Errorf("the client waited for %s, want no wait", waited)
	}
}

// crane's registry does not report the offset of an upload, but answers 400. So an interrupted
// upload starts over, in the same process or a later one, and its saved session is dropped.
func TestCraneRegistryCannotResume(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))})
	b := big()
	u, kept := interruptUpload(t, r, b, 2)
	upload(t, dial(t, r), u, b)
	if kept.location != "" {
		t.Errorf("the session %s is still saved, want none", kept.location)
	}
}

// If the registry does not know a saved upload session, or answers 500 to every request for it, the
// client starts a new one within the same call of Upload. It keeps the saved session if the failure is
// temporary, if the answer is 401, or if the registry refuses new uploads too.
func TestStoredSessionsUnknownToRegistry(t *testing.T) {
	for _, test := range []struct {
		status        int
		posts         int // status of the answer to a new upload; 0 means that the registry itself answers
		dropped, kept bool
	}{
		{400, 0, true, false}, {403, 0, true, false}, {404, 0, true, false}, {405, 0, true, false}, {410, 0, true, false}, {501, 0, true, false},
		{401, 0, false, true}, {403, 403, false, true}, {408, 0, false, true}, {429, 0, false, true}, {500, 0, true, false}, {500, 500, false, true}, {503, 0, false, true},
	} {
		r := registrytest.New(t, registrytest.Options{})
		r.Inject(registrytest.Answer(registrytest.On("GET uploads"), test.status))
		if test.posts != 0 {
			r.Inject(registrytest.Answer(registrytest.On("POST uploads"), test.posts))
		}
		b := big()
		u := b.upload("x")
		kept := &sessions{"http://" + r.Host + "/v2/x/blobs/uploads/2b4b0a1c-8a2e-4c5e-8a3a-2f5f1d7d9f11?_state=none"}
		u.Sessions = kept
		_, err := dial(t, r, func(o *client.Options) { o.Retries = 1 }).Upload(t.Context(), u)
		if (err == nil) != test.dropped || (kept.location != "") != test.kept {
			t.Errorf("with status %d for the session and %d for new uploads: got the error %v and the saved session %q; want success: %v, session kept: %v", test.status, test.posts, err, kept.location, test.dropped, test.kept)
		}
	}
}

// The client also replaces a saved session on another host if that host is unreachable or
// requires a login.
func TestStoredSessionsOfAnotherHost(t *testing.T) {
	guard := registrytest.New(t, registrytest.Options{Basic: true})
	for _, host := range []string{closedPort(t), guard.Host} {
		r := registrytest.New(t, registrytest.Options{})
		b := big()
		u := b.upload("x")
		kept := &sessions{"http://" + host + "/v2/x/blobs/uploads/1"}
		u.Sessions = kept
		upload(t, dial(t, r, private, func(o *client.Options) { o.Clock = newFakeClock() }), u, b)
		if kept.location != "" {
			t.Errorf("the session %s is still saved, want none", kept.location)
		}
	}
}

// One server may not see yet which blobs another server has accepted, so the client retries.
func TestManifestRetriedUntilBlobsAreKnown(t *testing.T) {
	for _, code := range []string{"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"} {
		r := registrytest.New(t, registrytest.Options{})
		clock := newFakeClock()
		c := dial(t, r, func(o *client.Options) { o.Clock, o.FirstPause, o.Retries = clock, time.Second, 3 })
		r.Inject(registrytest.AnswerCode(registrytest.First(2, registrytest.On("PUT manifests")), 404, code))
		image(t, c, "x", "v1")
		if waited := clock.Now().Sub(clock.start); waited < time.Second {
			t.Errorf("with the code %s, the client waited for %s, want at least one second", code, waited)
		}
		r.Inject(registrytest.AnswerCode(registrytest.On("PUT manifests"), 400, code))
		r.Forget()
		_, err := c.PutManifest(t.Context(), "x", "v2", manifest(noise(300, 1), noise(3000, 2)))
		if e := failure(t, err, client.ErrRefused); !e.HasCode(code) || r.Kinds()["PUT manifests"] != 4 {
			t.Errorf("got the error %v after the requests %v, want the code in the error and 4 PUT requests", e, r.Kinds())
		}
	}
}
