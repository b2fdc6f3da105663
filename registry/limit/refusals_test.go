package limit

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// A refusal has the headers Content-Length and Retry-After. After a HEAD request, it has no body.
// If the request had a body, the connection is closed.
func TestRefusedRequests(t *testing.T) { synctest.Test(t, checkRefusals) }

func checkRefusals(t *testing.T) {
	h, err := Requests(fine, 0.1, 1)
	if err != nil {
		t.Fatal(err)
	}
	ask(h, "192.0.2.1")
	for _, c := range []struct{ method, body, connection string }{
		{"GET", "", ""}, {"HEAD", "", ""}, {"POST", "x", "close"},
	} {
		req := httptest.NewRequest(c.method, "/v2/", strings.NewReader(c.body))
		req.RemoteAddr = "192.0.2.1:1"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		got := w.Header()
		if w.Code != http.StatusTooManyRequests || got.Get("Retry-After") != "10" || got.Get("Connection") != c.connection ||
			got.Get("Content-Type") != "application/json" || got.Get("Docker-Distribution-Api-Version") != "registry/2.0" {
			t.Errorf("the refusal of %s has the status %d and the headers %v; want 429, Retry-After 10 and the headers of an API error", c.method, w.Code, got)
		}
		if length, body := got.Get("Content-Length"), w.Body.Len(); length != strconv.Itoa(len(tooMany)) || (body == 0) != (c.method == "HEAD") {
			t.Errorf("the refusal of %s has Content-Length %s and a body of %d bytes; want the length %d, and a body unless it is HEAD", c.method, length, body, len(tooMany))
		}
	}
}

// However many requests of a client are refused at once, none of them makes the client wait longer.
func TestRefusalsCostNothing(t *testing.T) {
	const seconds = 1000
	h, err := Requests(fine, 1.0/seconds, 1)
	if err != nil {
		t.Fatal(err)
	}
	ask(h, "192.0.2.1")
	var clients sync.WaitGroup
	for range 16 {
		clients.Go(func() {
			for range 2000 {
				ask(h, "192.0.2.1")
			}
		})
	}
	clients.Wait()
	w := ask(h, "192.0.2.1")
	if after, err := strconv.Atoi(w.Header().Get("Retry-After")); err != nil || after > seconds || w.Code != http.StatusTooManyRequests {
		t.Errorf("after many refusals, a request got status %d with Retry-After %d (error: %v), want 429 with at most %d", w.Code, after, err, seconds)
	}
}

// A client whose address cannot be parsed is not limited. Its connection does not use IP.
func TestNonIPAddresses(t *testing.T) {
	h, err := Requests(fine, 0.001, 1)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if w := ask(h, "@"); w.Code != http.StatusNoContent {
			t.Errorf("without an IP address, a request got status %d, want 204", w.Code)
		}
	}
	if w := ask(Forwarded(h, nil), "@", "192.0.2.1"); w.Code != http.StatusNoContent {
		t.Errorf("without trusted proxies, a request from a sender without an IP address got status %d, want 204", w.Code)
	}
	if w := ask(Forwarded(h, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}), "@", "198.51.100.1"); w.Code != http.StatusNoContent {
		t.Errorf("with a trusted proxy, a request from a sender without an IP address got status %d, want 204", w.Code)
	}
}

// remote is a connection that has an address and can be closed, but nothing else.
type remote struct {
	net.Conn
	addr   string
	closed bool
}

func (r *remote) RemoteAddr() net.Addr { return named(r.addr) }
func (r *remote) Close() error         { r.closed = true; return nil }

type named string

func (named) Network() string  { return "test" }
func (n named) String() string { return string(n) }

// A hijacked connection no longer counts. Changes of state between new and closed do not matter.
// Connections without an IP address never count.
func TestConnectionStates(t *testing.T) {
	c := NewConnections(1, []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")})
	open := func(addr string) *remote {
		r := &remote{addr: addr}
		for _, state := range []http.ConnState{http.StateNew, http.StateActive, http.StateIdle} {
			c.State(r, state)
		}
		return r
	}
	for i, end := range []http.ConnState{http.StateHijacked, http.StateClosed} {
		first, second := open("192.0.2.1:1"), open("192.0.2.1:2")
		if first.closed || !second.closed || c.Refused() != int64(i+1) || len(c.open) != 1 {
			t.Errorf("the first connection is closed: %v, the second: %v; want only the second closed. In total, %d were refused, want %d; the open connections are %v, want one client", first.closed, second.closed, c.Refused(), i+1, c.open)
		}
		c.State(second, http.StateClosed)
		if len(c.open) != 1 {
			t.Errorf("after the second connection was closed, the open connections are %v, want one client", c.open)
		}
		c.State(first, end)
		if len(c.open) != 0 {
			t.Errorf("after the state %v of the last connection, the open connections are %v, want none", end, c.open)
		}
	}
	for _, free := range []string{"@", "198.51.100.1:1"} {
		if a, b := open(free), open(free); a.closed || b.closed || len(c.open) != 0 {
			t.Errorf("two connections from %s are closed: %v and %v, want neither; the open connections are %v, want none", free, a.closed, b.closed, c.open)
		}
	}
}
