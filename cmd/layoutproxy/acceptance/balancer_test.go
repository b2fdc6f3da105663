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

// balancer hands TCP connections to backends in turn, as a service of Kubernetes does, and
// passes over one that accepts none. As a line to a single backend it can break.
type balancer struct {
	address  string
	backends []string
	next     atomic.Uint64

	mu     sync.Mutex
	state  lineState
	open   map[net.Conn]bool
	passed atomic.Int64 // bytes from backends to clients
}

// lineState says what becomes of connections.
type lineState int

const (
	passing lineState = iota
	reset             // every connection is reset, also those that are open
	hole              // nothing passes any longer, and neither side learns of it
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

// set changes the state of all connections, and of those to come.
func (b *balancer) set(s lineState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state = s
	if s == reset || s == passing { // what fell into the hole is lost
		for conn := range b.open {
			breakOff(conn)
		}
	}
}

func breakOff(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}

// count returns how many bytes came from the backends.
func (b *balancer) count() int64 { return b.passed.Load() }

func (b *balancer) now() lineState {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state
}

func (b *balancer) keep(conn net.Conn, on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if on {
		b.open[conn] = true
	} else {
		delete(b.open, conn)
	}
}

func (b *balancer) handle(ctx context.Context, client net.Conn) {
	b.keep(client, true)
	defer b.keep(client, false)
	defer client.Close()
	switch b.now() {
	case reset:
		breakOff(client)
		return
	case hole:
		_, _ = io.Copy(io.Discard, client)
		return
	}
	backend := b.dial(ctx)
	if backend == nil {
		breakOff(client)
		return
	}
	b.keep(backend, true)
	defer b.keep(backend, false)
	var both sync.WaitGroup
	both.Go(func() { b.pass(backend, client, nil) })
	both.Go(func() { b.pass(client, backend, &b.passed) })
	both.Wait()
}

// dial connects to the next backend that accepts.
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

// pass copies what one side sends to the other, and ends both with it.
func (b *balancer) pass(to, from net.Conn, count *atomic.Int64) {
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if b.now() == hole {
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
