package limit

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Connections limits the number of open connections per client. Set its State as the ConnState
// hook of an http.Server.
type Connections struct {
	max     int
	trusted []netip.Prefix
	refused atomic.Int64

	mu   sync.Mutex
	open map[netip.Addr]int // bounded by the number of connections
}

// NewConnections allows each client at most limit connections at once. Trusted proxies, which
// connect for many clients, are not limited.
func NewConnections(limit int, trusted []netip.Prefix) *Connections {
	return &Connections{max: limit, trusted: trusted, open: map[netip.Addr]int{}}
}

// Refused returns how many connections were closed because the client had too many.
func (c *Connections) Refused() int64 { return c.refused.Load() }

// State counts the connection, and closes it if the client has too many.
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
	c.open[addr]++ // a refused connection also counts until http.StateClosed is reported
	if c.open[addr] > c.max {
		c.refused.Add(1)
		conn.Close()
	}
}
