package client

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestLimiterBoundsRequestsAtOnce(t *testing.T) { synctest.Test(t, limiterBounds) }

func limiterBounds(t *testing.T) {
	l := newLimiter(3)
	var mu sync.Mutex
	running, most := 0, 0
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if err := l.acquire(t.Context()); err != nil {
				t.Error(err)
			}
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			time.Sleep(time.Millisecond)
			mu.Lock()
			running--
			mu.Unlock()
			l.release()
		})
	}
	group.Wait()
	if most != 3 || l.running != 0 {
		t.Errorf("up to %d requests ran at once, want 3; %d requests are still running, want 0", most, l.running)
	}
}

func TestLimiterBoundAdapts(t *testing.T) {
	l := newLimiter(8)
	began := time.Now()
	l.overloaded(began, 0)
	l.overloaded(began, 0) // this request also began before the bound was lowered, so it does not lower the bound again
	if l.bound() != 4 {
		t.Errorf("after two requests of the same time were rejected, the bound is %d, want 4", l.bound())
	}
	for range 10 {
		l.overloaded(time.Now().Add(time.Second), 0)
	}
	if l.bound() != 1 {
		t.Errorf("after ten more overloads, the bound is %d, want the minimum 1", l.bound())
	}
	for range goodRun*8*8 + 1 {
		l.succeeded()
	}
	if l.bound() != 8 {
		t.Errorf("after many successes, the bound is %d, want the maximum 8", l.bound())
	}
}

func TestLimiterPausesAsRequested(t *testing.T) {
	l := newLimiter(2)
	l.overloaded(time.Now(), time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.acquire(ctx); err == nil {
		t.Error("acquire during the pause returned no error, want the context's error")
	}
	l.until = time.Time{}
	if err := l.acquire(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		value, date string
		want        time.Duration
	}{
		{"", "", 0}, {"7", "", 7 * time.Second}, {"-7", "", 0}, {"soon", "", 0},
		{"Thu, 01 Jan 2026 00:01:00 GMT", "", time.Minute},
		{"Thu, 01 Jan 2026 02:01:00 GMT", "Thu, 01 Jan 2026 02:00:00 GMT", time.Minute}, // the server's clock is two hours ahead
		{"Thu, 01 Jan 2015 00:01:00 GMT", "", 0},
	} {
		h := http.Header{}
		h.Set("Retry-After", test.value)
		h.Set("Date", test.date)
		if got := retryAfter(h, now); got != test.want {
			t.Errorf("retryAfter(%q) = %v, want %v", test.value, got, test.want)
		}
	}
}

func TestParseReceived(t *testing.T) {
	for value, want := range map[string]int64{
		"0-0": 0, "0-1": 2, "0-99": 100, "bytes=0-99": 100,
		"": -1, "5-9": -1, "0--1": -1, "0-x": -1, "0-9223372036854775807": -1,
	} {
		n, ok := parseReceived(http.Header{"Range": {value}})
		if !ok {
			n = -1
		}
		if n != want {
			t.Errorf("parseReceived of the Range %q = %d, want %d", value, n, want)
		}
	}
}

func TestChallenges(t *testing.T) {
	for line, want := range map[string]string{
		`Bearer realm="https://a/t",service="s, x",scope="repository:a/b:pull,push"`: "bearer s, x",
		`Basic realm="x"`: "basic ",
		`Negotiate, Basic realm="a\"b", Bearer realm=r , service = s`: "bearer s",
		`Digest realm="x"`:     " ",
		`Bearer realm="no end`: "bearer ",
		``:                     " ", `,,,`: " ",
	} {
		c, _ := challengeOf(http.Header{"Www-Authenticate": {line}})
		if got := c.scheme + " " + c.params["service"]; got != want {
			t.Errorf("header %s: the client chose %q, want %q", line, got, want)
		}
	}
}

// Every scheme and parameter that parseChallenges returns occurs in the header.
func FuzzChallenges(f *testing.F) {
	f.Add(`Bearer realm="https://a/t",service="s",scope="repository:a/b:pull,push", Basic realm="y"`)
	f.Add(`a b=c,d="\"`)
	f.Fuzz(func(t *testing.T, line string) {
		plain := strings.ToLower(strings.ReplaceAll(line, `\`, ""))
		for _, c := range parseChallenges(line) {
			if c.scheme == "" || !strings.Contains(plain, c.scheme) {
				t.Fatalf("parseChallenges returned the scheme %q, want one that occurs in the header %q", c.scheme, line)
			}
			for name, value := range c.params {
				if !strings.Contains(plain, name) || !strings.Contains(plain, strings.ToLower(strings.ReplaceAll(value, `\`, ""))) {
					t.Fatalf("parseChallenges returned the parameter %q=%q, want one that occurs in the header %q", name, value, line)
				}
			}
		}
	})
}
