package limit

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
)

// A refusal has Content-Length and Retry-After. A refusal of HEAD has no body; a refusal of
// a request with a body closes the connection.
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
			t.Errorf("%s: %d %v", c.method, w.Code, got)
		}
		if length, body := got.Get("Content-Length"), w.Body.Len(); length != strconv.Itoa(len(tooMany)) || (body == 0) != (c.method == "HEAD") {
			t.Errorf("%s: %s bytes, body of %d", c.method, length, body)
		}
	}
}

// A client whose address cannot be parsed is not limited: its connection does not use IP.
func TestNonIPAddresses(t *testing.T) {
	h, err := Requests(fine, 0.001, 1)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if w := ask(h, "@"); w.Code != http.StatusNoContent {
			t.Errorf("%d", w.Code)
		}
	}
	if w := ask(Forwarded(h, nil), "@", "192.0.2.1"); w.Code != http.StatusNoContent {
		t.Errorf("%d", w.Code)
	}
	if w := ask(Forwarded(h, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}), "@", "198.51.100.1"); w.Code != http.StatusNoContent {
		t.Errorf("%d", w.Code)
	}
}

// remote is a connection with a remote address that can only be closed.
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

// A hijacked connection no longer counts. Changes between new and closed do not count, and
// neither do connections without an IP address.
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
			t.Errorf("%v, %v, %d refused, %v", first.closed, second.closed, c.Refused(), c.open)
		}
		c.State(second, http.StateClosed)
		if len(c.open) != 1 {
			t.Errorf("one is still open: %v", c.open)
		}
		c.State(first, end)
		if len(c.open) != 0 {
			t.Errorf("after %v: %v", end, c.open)
		}
	}
	for _, free := range []string{"@", "198.51.100.1:1"} {
		if a, b := open(free), open(free); a.closed || b.closed || len(c.open) != 0 {
			t.Errorf("%s: %v, %v, %v", free, a.closed, b.closed, c.open)
		}
	}
}
