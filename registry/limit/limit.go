// Package limit bounds what one client may ask for, so that the others are served.
//
// [Requests] wraps a handler and answers 429 to a client that asks too often;
// [Connections] is a hook of http.Server that closes what one client opens beyond
// its share; [Forwarded] finds out who the client is behind a proxy that is trusted.
//
// A client is an IPv4 address, or the /64 network of an IPv6 one, of which a single
// host has all addresses. What is remembered of clients is bounded: who was not
// seen for the longest time is forgotten first.
//
// Neither wraps a connection or a response: a plain blob still goes from its file to
// the socket in the kernel.
package limit

import (
	"container/list"
	"errors"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxClients is how many clients are remembered.
const maxClients = 8192

// requests limits the rate of requests.
type requests struct {
	next  http.Handler
	rate  rate.Limit
	burst int

	mu      sync.Mutex
	clients map[netip.Addr]*list.Element
	order   list.List // of *client; who was seen last is in front
}

type client struct {
	addr    netip.Addr
	limiter *rate.Limiter
}

// Requests lets each client have perSecond requests on average, and burst at once.
// Who asks for more gets 429 with Retry-After. Errors: a rate or burst that lets
// nobody through.
func Requests(next http.Handler, perSecond float64, burst int) (http.Handler, error) {
	if !(perSecond > 0) || math.IsInf(perSecond, 0) || burst < 1 {
		return nil, errors.New("a client needs a rate and a burst above nothing")
	}
	return &requests{next: next, rate: rate.Limit(perSecond), burst: burst, clients: map[netip.Addr]*list.Element{}}, nil
}

func (r *requests) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if addr, ok := address(req.RemoteAddr); ok {
		if wait := r.wait(addr); wait > 0 {
			refuse(w, req, wait)
			return
		}
	}
	r.next.ServeHTTP(w, req)
}

// wait is how long a client has to wait until its next request; 0 takes the request.
func (r *requests) wait(addr netip.Addr) time.Duration {
	limiter := r.limiter(addr)
	reservation := limiter.Reserve()
	wait := reservation.Delay()
	if wait > 0 {
		reservation.Cancel()
	}
	return wait
}

func (r *requests) limiter(addr netip.Addr) *rate.Limiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.clients[addr]; ok {
		r.order.MoveToFront(e)
		return e.Value.(*client).limiter
	}
	if len(r.clients) >= maxClients {
		oldest := r.order.Remove(r.order.Back()).(*client)
		delete(r.clients, oldest.addr)
	}
	c := &client{addr, rate.NewLimiter(r.rate, r.burst)}
	r.clients[addr] = r.order.PushFront(c)
	return c.limiter
}

// tooMany is the error body of the distribution specification 1.1 ("Error Codes").
const tooMany = `{"errors":[{"code":"TOOMANYREQUESTS","message":"too many requests","detail":"this client asks more often than it may"}]}` + "\n"

func refuse(w http.ResponseWriter, req *http.Request, wait time.Duration) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(tooMany)))
	h.Set("Docker-Distribution-Api-Version", "registry/2.0")
	h.Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	if req.ContentLength != 0 {
		h.Set("Connection", "close") // or net/http would wait for the body
	}
	w.WriteHeader(http.StatusTooManyRequests)
	if req.Method != http.MethodHead {
		w.Write([]byte(tooMany))
	}
}

// address is the client that a remote address, with a port or without, stands for.
func address(remote string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(remote)
	if err != nil {
		port, err := netip.ParseAddrPort(remote)
		if err != nil {
			return netip.Addr{}, false
		}
		addr = port.Addr()
	}
	return share(addr), true
}

// share is the address that stands for all of a client's.
func share(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		if network, err := addr.Prefix(64); err == nil {
			return network.Addr()
		}
	}
	return addr
}
