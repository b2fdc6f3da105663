package acceptance

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/buckettest"
)

// outage is a way in which a bucket can be unreachable.
type outage struct {
	begin, end func()
	reason     string // text that /readyz must contain
}

// outages returns outages of a store behind a balancer, by name.
func outages(server *buckettest.Server, line *balancer) map[string]outage {
	answer := func(f buckettest.Fault) func() {
		return func() { server.Fail(func(buckettest.Request) buckettest.Fault { return f }) }
	}
	working := func() { server.Fail(nil) }
	return map[string]outage{
		"connections are reset": {func() { line.set(reset) }, func() { line.set(passing) }, "bucket unreachable"},
		"503":                   {answer(buckettest.Unavailable()), working, "the store answers 503 SlowDown"},
		"500":                   {answer(buckettest.Fault{Status: 500, Code: "InternalError"}), working, "the store answers 500 InternalError"},
		"403":                   {answer(buckettest.Fault{Status: 403, Code: "AccessDenied"}), working, "access denied (403 AccessDenied)"},
	}
}

// During each outage, the server answers from memory, /readyz shows the reason, and requests for
// blobs wait. After the outage, these requests get complete blobs, and /readyz is ready again.
func TestUnreachableBucket(t *testing.T) {
	server, line, s := serveBehindLine(t, "200ms")
	base := "http://" + s.registry
	once := &patient{client: http.DefaultClient}
	i := pick(t, sample(t), installer)
	must(t, once.image(t.Context(), base, installer, i.digest))
	blob := largest(t, i)

	for name, outage := range outages(server, line) {
		t.Run(name, func(t *testing.T) {
			outage.begin()
			reason := waitReady(t, s, http.StatusServiceUnavailable)
			if !strings.Contains(reason, outage.reason) {
				t.Errorf("got %q from /readyz, want the reason %q", reason, outage.reason)
			}
			for _, path := range []string{"/v2/", "/v2/_catalog", "/v2/" + i.repository + "/tags/list", "/v2/" + i.repository + "/manifests/" + i.tag, "/v2/" + i.repository + "/manifests/" + i.digest.String()} {
				if status := statusAt(t, base+path); status != http.StatusOK {
					t.Errorf("%s: got status %d during the outage, want 200", path, status)
				}
			}
			answered := make(chan error, 3)
			for range cap(answered) {
				go func() {
					_, err := once.content(t.Context(), base+"/v2/"+i.repository+"/blobs/", blob)
					answered <- err
				}()
			}
			select {
			case err := <-answered:
				t.Errorf("a request for a blob ended during the outage (error %v), want it to wait", err)
			case <-time.After(300 * time.Millisecond): // long enough for a response that does not wait
			}
			outage.end()
			for range cap(answered) {
				if err := <-answered; err != nil {
					t.Error(err)
				}
			}
			waitReady(t, s, http.StatusOK)
			must(t, once.image(t.Context(), base, installer, i.digest))
		})
	}
}

// serveBehindLine serves the sample from a bucket that layoutproxy reaches through a balancer.
func serveBehindLine(t *testing.T, rescan string) (*buckettest.Server, *balancer, server) {
	t.Helper()
	o, store := fakeStore(t)
	o.upload(t, bundleDir, "bundle")
	line := balance(t, strings.TrimPrefix(store.URL, "http://"))
	o.endpoint = "http://" + line.address
	return store, line, serve(t, o.place("bundle"), o.flags("--rescan", rescan)...)
}

// largest returns the largest layer of an image.
func largest(t *testing.T, i image) digest.Digest {
	t.Helper()
	m := parse(t, blob(t, i.layout(), i.digest))
	found := m.Layers[0]
	for _, l := range m.Layers {
		if l.Size > found.Size {
			found = l
		}
	}
	return found.Digest
}

// waitReady waits until /readyz answers with a status, and returns the body of the response.
func waitReady(t *testing.T, s server, want int) string {
	t.Helper()
	return eventually(t, fmt.Sprintf("/readyz is %d", want), func() (string, bool) {
		resp, text := requestOnce(t, http.MethodGet, "http://"+s.admin+"/readyz")
		return text, resp.StatusCode == want
	})
}

// If the bucket cuts a body short, the client gets an error. It can request the rest as a range.
func TestCutBodyNeverLooksComplete(t *testing.T) {
	o, server := fakeStore(t)
	o.upload(t, bundleDir, "bundle")
	s := serve(t, o.place("bundle"), o.flags()...)
	i := pick(t, sample(t), installer)
	d := largest(t, i)
	url := "http://" + s.registry + "/v2/" + i.repository + "/blobs/" + d.String()
	size := int64(len(blob(t, i.layout(), d)))
	for _, after := range []int64{0, 1, size / 2, size - 1} {
		server.Fail(func(r buckettest.Request) buckettest.Fault {
			return buckettest.Fault{Cut: strings.HasSuffix(r.Key, d.Encoded()), CutAfter: after}
		})
		resp, err := http.Get(url)
		if err != nil {
			continue // the client got no complete header
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK && err == nil {
			t.Errorf("body cut after %d bytes: the client got %d bytes and no error, want an error", after, len(got))
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !strings.Contains(err.Error(), "reset") {
			t.Errorf("body cut after %d bytes: got error %v, want ErrUnexpectedEOF or a reset connection", after, err)
		}
	}
	cuts := 0
	server.Fail(func(r buckettest.Request) buckettest.Fault {
		if !strings.HasSuffix(r.Key, d.Encoded()) || cuts == 2 {
			return buckettest.Fault{}
		}
		cuts++
		return buckettest.Fault{Cut: true, CutAfter: size / 4}
	})
	again := &patient{client: http.DefaultClient, retries: 5, pause: time.Millisecond}
	if _, err := again.content(t.Context(), "http://"+s.registry+"/v2/"+i.repository+"/blobs/", d); err != nil {
		t.Error(err)
	}
	if again.retried.Load() == 0 {
		t.Error("the client repeated no request, want at least one, because the bucket cuts bodies")
	}
}
