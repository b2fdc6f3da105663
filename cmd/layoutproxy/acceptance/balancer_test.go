package acceptance

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// balancer forwards TCP connections to backends in turn, like a Kubernetes service, and skips
// backends that refuse connections. A test can interrupt all connections.
type balancer struct {
	address  string
	backends []string
	next     atomic.Uint64

	mu     sync.Mutex
	state  lineState
	open   map[net.Conn]bool
	passed atomic.Int64 // number of bytes sent from backends to clients
}

// lineState says how a balancer treats its connections.
type lineState int

const (
	passing lineState = iota
	reset             // reset all open and new connections
	hole              // drop all data, but keep connections open
)

// balance runs a balancer until the test ends.
func balance(t *testing.T, backends ...string) *balancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	b := &balancer{address: l.Addr().String(), backends: backends, open: map[net.Conn]bool{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { b.handle(t.Context(), conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		b.set(reset)
		running.Wait()
	})
	return b
}

// set changes the state of all open and new connections.
func (b *balancer) set(s lineState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state = s
	// Connections may have lost data in the state hole. So they are also reset when it ends.
	if s == reset || s == passing {
		for conn := range b.open {
			resetConn(conn)
		}
	}
}

func resetConn(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}

func (b *balancer) count() int64 { return b.passed.Load() }

func (b *balancer) currentState() lineState {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state
}

func (b *balancer) track(conn net.Conn, on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if on {
		b.open[conn] = true
	} else {
		delete(b.open, conn)
	}
}

func (b *balancer) handle(ctx context.Context, client net.Conn) {
	b.track(client, true)
	defer b.track(client, false)
	defer client.Close()
	switch b.currentState() {
	case reset:
		resetConn(client)
		return
	case hole:
		_, _ = io.Copy(io.Discard, client)
		return
	}
	backend := b.dial(ctx)
	if backend == nil {
		resetConn(client)
		return
	}
	b.track(backend, true)
	defer b.track(backend, false)
	var both sync.WaitGroup
	both.Go(func() { b.pass(backend, client, nil) })
	both.Go(func() { b.pass(client, backend, &b.passed) })
	both.Wait()
}

// dial connects to the next backend that accepts a connection. If all refuse, it returns nil.
func (b *balancer) dial(ctx context.Context) net.Conn {
	for range b.backends {
		dialer := net.Dialer{Timeout: 5 * time.Second}
		at := b.backends[b.next.Add(1)%uint64(len(b.backends))]
		if conn, err := dialer.DialContext(ctx, "tcp", at); err == nil {
			return conn
		}
	}
	return nil
}

// pass copies data from one connection to the other. When the data ends, it closes the target.
func (b *balancer) pass(to, from net.Conn, count *atomic.Int64) {
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if b.currentState() == hole {
			n = 0
		}
		if n > 0 {
			if count != nil {
				count.Add(int64(n))
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				from.Close()
				return
			}
		}
		if err != nil {
			return
		}
	}
}
