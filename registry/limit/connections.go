package limit

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Connections limits the number of open connections per client. To use it, set the ConnState hook
// of an http.Server to its State method.
type Connections struct {
	max     int
	trusted []netip.Prefix
	refused atomic.Int64

	mu   sync.Mutex
	open map[netip.Addr]int // maps each client with open connections to their number
}

// NewConnections allows each client at most limit connections at once. Trusted proxies are not
// limited, because they connect for many clients.
func NewConnections(limit int, trusted []netip.Prefix) *Connections {
	return &Connections{max: limit, trusted: trusted, open: map[netip.Addr]int{}}
}

// Refused returns the number of connections that were closed because the client had too many.
func (c *Connections) Refused() int64 { return c.refused.Load() }

// State counts a new connection, and closes it if the client has too many. It stops counting a
// connection that is closed or hijacked.
func (c *Connections) State(conn net.Conn, state http.ConnState) {
	if state != http.StateNew && state != http.StateClosed && state != http.StateHijacked {
		return
	}
	peer, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil || contains(c.trusted, peer.Addr()) {
		return
	}
	addr := clientAddr(peer.Addr())
	c.mu.Lock()
	defer c.mu.Unlock()
	if state != http.StateNew {
		if c.open[addr]--; c.open[addr] <= 0 {
			delete(c.open, addr)
		}
		return
	}
	c.open[addr]++ // a refused connection counts until http.StateClosed is reported for it
	if c.open[addr] > c.max {
		c.refused.Add(1)
		conn.Close()
	}
}
