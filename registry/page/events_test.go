package page_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/page"
)

// stream is a response writer that records events and the times when they were written.
type stream struct {
	header http.Header
	mu     sync.Mutex
	events []string
	times  []time.Time
}

func (s *stream) Header() http.Header { return s.header }
func (s *stream) WriteHeader(int)     {}
func (s *stream) Flush()              {}

func (s *stream) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if bytes.HasPrefix(b, []byte("data:")) {
		s.events = append(s.events, string(b))
		s.times = append(s.times, time.Now())
	}
	return len(b), nil
}

func parts(t *testing.T, event string) map[string]struct{ HTML, Hash string } {
	t.Helper()
	data, ok := strings.CutSuffix(strings.TrimPrefix(event, "data: "), "\n\n")
	if !ok || strings.Contains(data, "\n") {
		t.Fatalf("got the event %q, want one complete event", event)
	}
	var all map[string]struct{ HTML, Hash string }
	layouttest.Try(t, json.Unmarshal([]byte(data), &all))
	return all
}

// While nothing changes, an open page gets no event. When something changes, the page gets those of
// its sections that have changed, at most once per second. When the server stops, the stream ends.
// The status is read at most once per second.
func TestEventsOfOpenPages(t *testing.T) {
	t.Parallel()
	tree := open(t, sample)
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		asked := 0
		var now page.Status
		p := pages(t, tree, func(o *page.Options, s *page.Status) {
			now = *s
			o.Status = func(context.Context) page.Status {
				mu.Lock()
				defer mu.Unlock()
				asked++
				return now
			}
		})
		overview := get(t, p, "/", http.StatusOK)
		var have []string
		for _, m := range regexp.MustCompile(`data-live="([a-z]+)" data-hash="([0-9a-f]+)"`).FindAllStringSubmatch(overview, -1) {
			have = append(have, m[1]+":"+m[2])
		}
		if len(have) != 4 {
			t.Fatalf("the overview has the sections %v, want 4", have)
		}
		var all sync.WaitGroup
		follow := func(have string) *stream {
			s := &stream{header: http.Header{}}
			all.Go(func() { p.ServeHTTP(s, httptest.NewRequest(http.MethodGet, "/events?have="+have, nil)) })
			return s
		}
		idle, one, old := follow(strings.Join(have, ",")), follow(have[0]), follow("pill:0,unknown:0")
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(idle.events) != 0 || len(one.events) != 0 || len(old.events) != 1 || idle.header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("while nothing changed, the streams got %d, %d and %d events, want 0, 0 and 1; the headers are %v, want an event stream", len(idle.events), len(one.events), len(old.events), idle.header)
		}
		if asked > 61 {
			t.Errorf("the status was read %d times in a minute, want at most 61", asked)
		}
		// A running import changes the status again and again.
		for i := range 100 {
			mu.Lock()
			now.Imports = []page.Job{{Name: "platform.tar", State: "verifying", Bytes: int64(i) * 1e6, Total: 1e8, Rate: 1e7}}
			mu.Unlock()
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		// While one stream reads the status again, the other streams may get the previous state.
		if n := len(idle.events); n < 1 || n > 11 {
			t.Errorf("during the import, the stream got %d events in 10 seconds, want 1 to 11", n)
		}
		for i := 1; i < len(idle.times); i++ {
			if idle.times[i].Sub(idle.times[i-1]) < time.Second {
				t.Errorf("the time between two events is %s, want at least one second", idle.times[i].Sub(idle.times[i-1]))
			}
		}
		if got := parts(t, idle.events[0]); len(got) != 1 || !strings.Contains(got["incoming"].HTML, "platform.tar") {
			t.Errorf("the event contains the sections %v, want only that of the import", got)
		}
		if len(one.events) != 0 {
			t.Error("a page without the section of imports got an event about that section, want none")
		}
		// The import fails.
		mu.Lock()
		now.Imports = []page.Job{{Name: "platform.tar", State: "failed", Detail: "copy chunk 0003 again"}}
		mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(one.events) != 1 || !strings.Contains(parts(t, one.events[0])["pill"].HTML, "1 failed transfer") {
			t.Errorf("after the import failed, the events are %v, want one about a failed transfer", one.events)
		}
		p.Close()
		p.Close()
		all.Wait()
		synctest.Wait()
	})
}

func TestEventStreamLimit(t *testing.T) {
	t.Parallel()
	tree := open(t, sample)
	synctest.Test(t, func(t *testing.T) {
		p := pages(t, tree, nil)
		ctx, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() {
				p.ServeHTTP(&stream{header: http.Header{}}, httptest.NewRequestWithContext(ctx, http.MethodGet, "/events?have=", nil))
			})
		}
		synctest.Wait()
		get(t, p, "/events?have=", http.StatusServiceUnavailable)
		leave()
		all.Wait()
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest(http.MethodHead, "/events?have=", nil))
		if w.Code != http.StatusOK {
			t.Errorf("after the other streams have ended, a new stream got status %d, want 200", w.Code)
		}
	})
}
