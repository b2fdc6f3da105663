package outage_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/buckettest"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/outage"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// watching is a place and its monitor. Between two probes, the monitor waits for a token.
type watching struct {
	store   *buckettest.Server
	monitor *outage.Monitor
	reader  bucket.Reader
	tokens  chan struct{}

	mu      sync.Mutex
	changes []error
}

func watch(t *testing.T) *watching {
	t.Helper()
	w := &watching{store: buckettest.Start(t), tokens: make(chan struct{})}
	w.monitor = outage.New(outage.Options{
		Sleep: func(ctx context.Context, _ time.Duration) error {
			select {
			case <-w.tokens:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		},
		Changed: func(_ string, err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.changes = append(w.changes, err)
		},
	})
	w.store.Write(t, "at/a", []byte("content"))
	w.store.Write(t, "at/b", []byte("other"))
	w.reader = w.monitor.Reader(w.store.Open(t, "at"))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.monitor.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *watching) get(ctx context.Context, key string) (string, error) {
	body, _, err := w.reader.Get(ctx, key, 0, -1, "")
	if err != nil {
		return "", err
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	return string(data), err
}

func (w *watching) list(ctx context.Context) (n int, err error) {
	err = w.reader.List(ctx, "", func(bucket.Object) error { n++; return nil })
	return n, err
}

// seen returns how many failures and how many recoveries of the place the monitor has reported.
func (w *watching) seen() (failed, recovered int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, err := range w.changes {
		if err != nil {
			failed++
		} else {
			recovered++
		}
	}
	return failed, recovered
}

// token lets the next probe start.
func (w *watching) token(t *testing.T) {
	t.Helper()
	select {
	case w.tokens <- struct{}{}:
	case <-time.After(time.Minute):
		t.Fatal("after a minute, the monitor is not waiting for its next probe; want it to wait")
	}
}

func TestDetectEachKindOfOutage(t *testing.T) {
	for name, fault := range map[string]buckettest.Fault{
		"no connection": {Drop: true},
		"503":           buckettest.Unavailable(),
		"500":           {Status: http.StatusInternalServerError, Code: "InternalError"},
		"403":           {Status: http.StatusForbidden, Code: "AccessDenied"},
		"no bucket":     {Status: http.StatusNotFound, Code: "NoSuchBucket"},
	} {
		t.Run(name, func(t *testing.T) {
			w := watch(t)
			if got, err := w.get(t.Context(), "a"); err != nil || got != "content" {
				t.Fatalf("Get before the outage: got %q and the error %v, want the content of the object", got, err)
			}
			if err := w.monitor.Err(); err != nil {
				t.Fatal(err)
			}
			w.store.Fail(func(buckettest.Request) buckettest.Fault { return fault })
			if _, err := w.get(t.Context(), "a"); !errors.Is(err, bucket.ErrUnreachable) {
				t.Fatalf("Get during the outage: got the error %v, want ErrUnreachable", err)
			}
			if err := w.monitor.Err(); !errors.Is(err, bucket.ErrUnreachable) || !strings.Contains(err.Error(), "s3://"+buckettest.Bucket+"/at/a") {
				t.Errorf("Err during the outage: got %v, want ErrUnreachable with the name of the object", err)
			}
			w.token(t) // now the monitor has probed once, and the probe has failed
			waited := make(chan error, 1)
			go func() { waited <- w.monitor.Wait(t.Context()) }()
			w.store.Fail(nil)
			drain(w.tokens)
			if err := <-waited; err != nil {
				t.Error(err)
			}
			if err := w.monitor.Err(); err != nil {
				t.Errorf("after the fault, Err() = %v, want nil", err)
			}
			if got, err := w.get(t.Context(), "a"); err != nil || got != "content" {
				t.Errorf("Get after the outage: got %q and the error %v, want the content of the object", got, err)
			}
			// The monitor calls Changed shortly after it has changed its state.
			layouttest.Eventually(t, "one failure and one recovery", func() bool {
				failed, recovered := w.seen()
				return failed == 1 && recovered == 1
			})
		})
	}
}

// drain gives a token to every waiting probe, until no probe has asked for a token for ten seconds.
func drain(tokens chan struct{}) {
	go func() {
		for {
			select {
			case tokens <- struct{}{}:
			case <-time.After(10 * time.Second):
				return
			}
		}
	}()
}

// During an outage, only the monitor's probes send requests to the store.
func TestRequestsFailAtOnceDuringOutage(t *testing.T) {
	w := watch(t)
	w.store.Unreachable()
	if _, err := w.list(t.Context()); !errors.Is(err, bucket.ErrUnreachable) {
		t.Fatal(err)
	}
	w.token(t) // now the first probe has failed
	w.store.ResetCounts()
	for range 100 {
		if _, err := w.get(t.Context(), "a"); !errors.Is(err, bucket.ErrUnreachable) {
			t.Fatalf("get during the outage: got the error %v, want ErrUnreachable", err)
		}
	}
	for _, r := range w.store.Requests() {
		if r.Key == "at/a" {
			t.Fatalf("the store got the request %+v during the outage, want only the monitor's probes", r)
		}
	}
	w.store.Fail(nil)
	drain(w.tokens)
	for w.monitor.Err() != nil {
		if err := w.monitor.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := w.get(t.Context(), "b"); err != nil || got != "other" {
		t.Errorf("Get after the outage: got %q and the error %v, want the content of the object", got, err)
	}
}

// If a store refuses to return one object, the other objects remain readable.
func TestRefusedObjectLeavesOthersReadable(t *testing.T) {
	w := watch(t)
	w.store.Fail(func(r buckettest.Request) buckettest.Fault {
		if r.Key == "at/a" {
			return buckettest.Fault{Status: http.StatusForbidden, Code: "AccessDenied"}
		}
		return buckettest.Fault{}
	})
	if _, err := w.get(t.Context(), "a"); !errors.Is(err, bucket.ErrUnreachable) {
		t.Fatalf("Get of the refused object: got the error %v, want ErrUnreachable", err)
	}
	if got, err := w.get(t.Context(), "b"); err != nil || got != "other" {
		t.Errorf("Get of another object: got %q and the error %v, want its content", got, err)
	}
}

// A successful list does not hide that the store refuses to return an object.
func TestListDoesNotHideRefusedObject(t *testing.T) {
	w := watch(t)
	w.store.Fail(func(r buckettest.Request) buckettest.Fault {
		if r.Operation != buckettest.List {
			return buckettest.Fault{Status: http.StatusForbidden, Code: "AccessDenied"}
		}
		return buckettest.Fault{}
	})
	if _, err := w.get(t.Context(), "a"); err == nil {
		t.Fatal("Get of the refused object: got no error, want one")
	}
	if n, err := w.list(t.Context()); err != nil || n != 2 {
		t.Fatalf("List: got %d objects and the error %v, want 2 and none", n, err)
	}
	if err := w.monitor.Err(); err == nil || !strings.Contains(err.Error(), "access denied (403 AccessDenied)") {
		t.Errorf("Err after the list: got %v, want the refusal of the object", err)
	}
}

// These errors do not count as an outage: a missing object, a changed object, and a caller that
// stops a list or gives up.
func TestErrorsThatAreNoOutage(t *testing.T) {
	w := watch(t)
	if _, err := w.get(t.Context(), "none"); err == nil {
		t.Error("Get of a missing object: got no error, want one")
	}
	if _, _, err := w.reader.Get(t.Context(), "a", 0, 1, "another"); !errors.Is(err, bucket.ErrChanged) {
		t.Errorf("Get with a different ETag: got the error %v, want ErrChanged", err)
	}
	enough := errors.New("enough")
	if err := w.reader.List(t.Context(), "", func(bucket.Object) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("List that its caller stops: got the error %v, want that of the caller", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.get(ended, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("Get with an ended context: got the error %v, want context.Canceled", err)
	}
	if err := w.monitor.Err(); err != nil {
		t.Errorf("Err after all these errors: got %v, want nil", err)
	}
}

// If the network drops all packets, callers get no error and eventually give up. The monitor
// reports an outage if they have waited for at least ten seconds.
func TestOutageWithoutAnyAnswer(t *testing.T) {
	for after, want := range map[time.Duration]bool{time.Second: false, 10 * time.Second: true} {
		now := time.Unix(0, 0)
		m := outage.New(outage.Options{Now: func() time.Time { return now }})
		swallowed := errors.New("the caller gives up")
		ctx, cancel := context.WithCancelCause(t.Context())
		r := m.Reader(&hole{func() {
			now = now.Add(after)
			cancel(swallowed)
		}})
		if _, _, err := r.Get(ctx, "a", 0, -1, ""); !errors.Is(err, swallowed) {
			t.Errorf("Get without an answer: got the error %v, want the cause of the context", err)
		}
		if err := m.Err(); (err != nil) != want {
			t.Errorf("after a wait of %s, Err() = %v; want an error: %v", after, err, want)
		} else if want && !strings.Contains(err.Error(), "no answer for 10s") {
			t.Errorf("got the outage %v, want one that says for how long there was no answer", err)
		}
	}
}

// hole is a place in a store that never answers.
type hole struct{ swallow func() }

func (h *hole) Place() string { return "s3://hole" }

func (h *hole) List(ctx context.Context, _ string, _ func(bucket.Object) error) error {
	h.swallow()
	<-ctx.Done()
	return context.Cause(ctx)
}

func (h *hole) Get(ctx context.Context, _ string, _, _ int64, _ string) (io.ReadCloser, bucket.Object, error) {
	return nil, bucket.Object{}, h.List(ctx, "", nil)
}

func (h *hole) Stat(ctx context.Context, _ string) (bucket.Object, error) {
	return bucket.Object{}, h.List(ctx, "", nil)
}

// If the caller of a long list gives up, only the time since the last object counts.
func TestLongListIsNoOutage(t *testing.T) {
	now := time.Unix(0, 0)
	m := outage.New(outage.Options{Now: func() time.Time { return now }})
	ctx, cancel := context.WithCancelCause(t.Context())
	swallowed := errors.New("the caller gives up")
	r := m.Reader(&long{&hole{func() {
		now = now.Add(time.Second)
		cancel(swallowed)
	}}})
	err := r.List(ctx, "", func(bucket.Object) error {
		now = now.Add(time.Second)
		return nil
	})
	if !errors.Is(err, swallowed) || m.Err() != nil {
		t.Errorf("List of 20 objects in 20 seconds: got the error %v, and Err() = %v; want the cause of the context and nil", err, m.Err())
	}
}

// long is a place in a store that lists 20 objects, and then does not answer any more.
type long struct{ *hole }

func (l *long) List(ctx context.Context, prefix string, each func(bucket.Object) error) error {
	for range 20 {
		if err := each(bucket.Object{}); err != nil {
			return err
		}
	}
	return l.hole.List(ctx, prefix, each)
}

// PresignGet sends no request, but it fails while the place cannot be read.
func TestPresignDuringOutage(t *testing.T) {
	w := watch(t)
	signer := w.reader.(bucket.Bucket)
	w.store.ResetCounts()
	url, err := signer.PresignGet(t.Context(), "a", time.Minute)
	if err != nil || !strings.HasPrefix(url, w.store.URL) || !strings.Contains(url, "X-Amz-Expires=60") {
		t.Errorf("PresignGet = %s, error %v; want a URL of the store that expires in 60 seconds", url, err)
	}
	if n := len(w.store.Requests()); n != 0 {
		t.Errorf("PresignGet sent %d requests, want none", n)
	}
	w.store.Unreachable()
	if _, err := w.get(t.Context(), "a"); err == nil {
		t.Fatal("Get during the outage: got no error, want one")
	}
	if url, err := signer.PresignGet(t.Context(), "a", time.Minute); !errors.Is(err, bucket.ErrUnreachable) {
		t.Errorf("PresignGet during the outage = %s, error %v; want ErrUnreachable", url, err)
	}
}

// The monitor forgets the failures of places that are not used any more, and sends no more requests to
// their stores. A caller that waits need not wait for them. A place that is used again is monitored again.
func TestForgetUnusedPlaces(t *testing.T) {
	w := watch(t)
	w.store.Fail(func(buckettest.Request) buckettest.Fault { return buckettest.Unavailable() })
	if _, err := w.get(t.Context(), "a"); err == nil {
		t.Fatal("Get during the outage: got no error, want one")
	}
	w.monitor.KeepPlaces([]string{w.reader.Place(), "s3://other"})
	if w.monitor.Err() == nil {
		t.Error("Err() = nil with a used place that fails, want its error")
	}
	waited := make(chan error, 1)
	go func() { waited <- w.monitor.Wait(t.Context()) }()
	w.monitor.KeepPlaces([]string{"s3://other"})
	if err := w.monitor.Err(); err != nil {
		t.Errorf("Err() = %v with an unused place that fails, want nil", err)
	}
	drain(w.tokens)
	if err := <-waited; err != nil {
		t.Error(err)
	}
	if failed, recovered := w.seen(); failed != 1 || recovered != 0 {
		t.Errorf("the monitor has reported %d failures and %d recoveries, want 1 and none", failed, recovered)
	}
	if _, err := w.get(t.Context(), "a"); !errors.Is(err, bucket.ErrUnreachable) || w.monitor.Err() != nil {
		t.Errorf("Get in the unused place: got the error %v, and Err() = %v; want ErrUnreachable and nil", err, w.monitor.Err())
	}
	w.reader = w.monitor.Reader(w.store.Open(t, "at"))
	if _, err := w.get(t.Context(), "a"); err == nil || w.monitor.Err() == nil {
		t.Errorf("Get in the place that is used again: got the error %v, and Err() = %v; want two errors", err, w.monitor.Err())
	}
	w.store.Fail(nil)
	layouttest.Eventually(t, "recovery of the place that is used again", func() bool { return w.monitor.Err() == nil })
}

// If a second reader of a place never gets a response, for example because its client could not be created,
// the probes still use the reader that works.
func TestProbesUseReaderThatWorks(t *testing.T) {
	w := watch(t)
	if _, err := w.get(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	broken := w.monitor.Reader(refused{w.store.Open(t, "at")})
	if err := broken.List(t.Context(), "", nil); !errors.Is(err, bucket.ErrUnreachable) {
		t.Fatalf("List with the broken reader: got the error %v, want ErrUnreachable", err)
	}
	drain(w.tokens)
	layouttest.Eventually(t, "recovery, because a probe succeeds", func() bool { return w.monitor.Err() == nil })
}

// refused is a reader whose lists all fail.
type refused struct{ bucket.Reader }

func (refused) List(context.Context, string, func(bucket.Object) error) error {
	return bucket.ErrUnreachable
}
