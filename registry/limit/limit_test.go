package limit

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var fine = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })

func ask(h http.Handler, remote string, forwarded ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest("GET", "/v2/", nil)
	req.RemoteAddr = remote
	req.Header["X-Forwarded-For"] = forwarded
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w
}

func TestRequestsAreLimitedByClient(t *testing.T) {
	h, err := Requests(fine, 0.001, 5) // the rate is so low that there is no second burst during the test
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		remotes []string
		taken   int
	}{
		{[]string{"192.0.2.1:1", "192.0.2.1:2", "[::ffff:192.0.2.1]:3", "192.0.2.1"}, 5},
		{[]string{"192.0.2.2:1"}, 5},
		{[]string{"[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::ffff:1]:1"}, 5}, // addresses of one /64 network count as one client
		{[]string{"[2001:db8:0:1::1]:1"}, 5},
	} {
		taken := 0
		for i := range 50 {
			w := ask(h, c.remotes[i%len(c.remotes)])
			switch w.Code {
			case http.StatusNoContent:
				taken++
			case http.StatusTooManyRequests:
				var body struct{ Errors []struct{ Code string } }
				if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.Errors[0].Code != "TOOMANYREQUESTS" || w.Header().Get("Retry-After") == "" {
					t.Fatalf("a refusal has the headers %v and the body %s, want Retry-After and the code TOOMANYREQUESTS", w.Header(), w.Body)
				}
			default:
				t.Fatal(w.Code)
			}
		}
		if taken != c.taken {
			t.Errorf("from the addresses %v, %d of 50 requests succeeded, want %d", c.remotes, taken, c.taken)
		}
	}
}

func TestRequestAfterWaiting(t *testing.T) { synctest.Test(t, requestAfterWaiting) }

func requestAfterWaiting(t *testing.T) {
	h, err := Requests(fine, 1000, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{http.StatusNoContent, http.StatusTooManyRequests} {
		if w := ask(h, "192.0.2.1:1"); w.Code != want {
			t.Errorf("a request without a pause got status %d, want %d", w.Code, want)
		}
	}
	time.Sleep(time.Millisecond)
	if w := ask(h, "192.0.2.1:1"); w.Code != http.StatusNoContent {
		t.Errorf("a request after a millisecond got status %d, want 204", w.Code)
	}
}

func TestRememberedClientsAreLimited(t *testing.T) {
	h, err := Requests(fine, 0.001, 1)
	if err != nil {
		t.Fatal(err)
	}
	r := h.(*requests)
	for i := range uint32(3 * maxClients) {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], i)
		if w := ask(h, netip.AddrFrom4(a).String()); w.Code != http.StatusNoContent {
			t.Fatalf("the first request of client %d got status %d, want 204", i, w.Code)
		}
		ask(h, "192.0.2.1") // this client sends requests all the time, so it must stay remembered
		if len(r.clients) > maxClients || r.order.Len() != len(r.clients) {
			t.Fatalf("%d clients are remembered, and %d are in the order; want the same numbers, at most maxClients", len(r.clients), r.order.Len())
		}
	}
	if w := ask(h, "192.0.2.1"); w.Code != http.StatusTooManyRequests {
		t.Error("the busiest client was forgotten, want it remembered")
	}
}

func TestRatesThatAllowNothing(t *testing.T) {
	for _, c := range []struct {
		rate  float64
		burst int
	}{{0, 1}, {-1, 1}, {1, 0}, {math.Inf(1), 1}, {math.NaN(), 1}} {
		if _, err := Requests(fine, c.rate, c.burst); err == nil {
			t.Errorf("Requests with the rate and burst %v returned no error, want one", c)
		}
	}
}

func TestForwardedAddresses(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("fe80::/10")}
	for _, c := range []struct {
		remote    string
		forwarded []string
		want      string
	}{
		{"192.0.2.1:99", []string{"198.51.100.1"}, "192.0.2.1:99"}, // the sender is not a trusted proxy, so its header is ignored
		{"10.0.0.1:99", nil, "10.0.0.1:99"},
		{"10.0.0.1:99", []string{"198.51.100.1"}, "198.51.100.1"},
		{"[::ffff:10.0.0.1]:99", []string{"198.51.100.1"}, "198.51.100.1"},
		{"[fd00::1]:99", []string{"2001:db8::1"}, "2001:db8::1"},
		{"[fe80::1%eth0]:99", []string{"2001:db8::1"}, "2001:db8::1"}, // the address of a proxy in the same link has a zone
		{"10.0.0.1:99", []string{"198.51.100.1:4711"}, "198.51.100.1"},
		{"10.0.0.1:99", []string{"[2001:db8::1]:4711"}, "2001:db8::1"},
		{"10.0.0.1:99", []string{"203.0.113.9, 198.51.100.1 , 10.0.0.2"}, "198.51.100.1"}, // the client may have invented the first address
		{"10.0.0.1:99", []string{"203.0.113.9", "198.51.100.1", "10.0.0.2"}, "198.51.100.1"},
		{"10.0.0.1:99", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"10.0.0.1:99", []string{"198.51.100.1, nonsense"}, "10.0.0.1:99"},
		{"10.0.0.1:99", []string{"nonsense, 10.0.0.2"}, "10.0.0.2"},
		{"10.0.0.1:99", []string{""}, "10.0.0.1:99"},
		{"nonsense", []string{"198.51.100.1"}, "nonsense"},
	} {
		var got string
		h := Forwarded(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { got = req.RemoteAddr }), trusted)
		if ask(h, c.remote, c.forwarded...); got != c.want {
			t.Errorf("from %s with X-Forwarded-For %q, the client is %s, want %s", c.remote, c.forwarded, got, c.want)
		}
	}
}

// Whatever X-Forwarded-For contains, the client is the sender or an address in the header. All
// addresses after the client's address belong to trusted proxies.
func FuzzForwarded(f *testing.F) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	f.Add("10.0.0.1", "198.51.100.1, 10.0.0.2")
	f.Add("192.0.2.1", "a,,b")
	f.Add("10.0.0.1", ",[::1]:2,10.1.1.1")
	f.Fuzz(func(t *testing.T, remote, forwarded string) {
		peer, err := netip.ParseAddr(remote)
		if err != nil {
			return
		}
		client := findClient(peer, []string{forwarded}, trusted)
		if client == peer {
			return
		}
		hops := strings.Split(forwarded, ",")
		for i := len(hops) - 1; i >= 0; i-- {
			addr, ok := parseAddress(strings.TrimSpace(hops[i]))
			if !ok {
				t.Fatalf("header %q: the client is %s, but a later entry is not an address, want only trusted proxies after the client", forwarded, client)
			}
			if addr == client {
				return
			}
			if !contains(trusted, addr) {
				t.Fatalf("header %q: the client is %s, but the later %s is not a trusted proxy, want only trusted proxies after the client", forwarded, client, addr)
			}
		}
		t.Fatalf("header %q: the client is %s, want an address in the header", forwarded, client)
	})
}

func TestConnectionsOfOneClient(t *testing.T) {
	const most = 3
	connections := NewConnections(most, nil)
	server := httptest.NewUnstartedServer(fine)
	server.Config.ConnState = connections.State
	server.Start()
	defer server.Close()
	get := func() (net.Conn, bool) {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		buf := make([]byte, 12)
		n, _ := conn.Read(buf)
		return conn, string(buf[:n]) == "HTTP/1.1 204"
	}
	var open []net.Conn
	for i := range 10 {
		conn, ok := get()
		defer conn.Close()
		if ok != (i < most) {
			t.Errorf("a request was answered on connection %d: %v, want the opposite", i, ok)
		}
		if ok {
			open = append(open, conn)
		}
	}
	if connections.Refused() != 10-most {
		t.Errorf("%d of 10 connections were refused, want all but the first 3", connections.Refused())
	}
	open[0].Close() // one more connection is allowed when the server has noticed this
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		conn, ok := get()
		defer conn.Close()
		if ok {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("after a connection was closed, the server accepts no new one, want one")
		}
	}
	for _, conn := range open {
		conn.Close()
	}
}

func TestTrustedProxiesAreNotLimited(t *testing.T) {
	connections := NewConnections(1, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})
	server := httptest.NewUnstartedServer(fine)
	server.Config.ConnState = connections.State
	server.Start()
	defer server.Close()
	for range 5 {
		client := http.Client{Transport: &http.Transport{}} // a new transport, so that each request has a connection of its own
		resp, err := client.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		defer client.CloseIdleConnections()
	}
	if n := connections.Refused(); n != 0 {
		t.Errorf("%d connections of a trusted proxy were refused, want none", n)
	}
}
