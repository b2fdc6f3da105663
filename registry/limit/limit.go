// Package limit limits the requests and connections of each client, so that one client cannot use
// all capacity.
//
// [Requests] wraps a handler, and answers 429 to a client that sends too many requests.
// [Connections] is a hook of http.Server that closes connections beyond a client's limit.
// [Forwarded] finds the address of a client behind trusted proxies.
//
// A client is an IPv4 address or the /64 network of an IPv6 address. A single host can use all
// addresses of such a network. Only a limited number of clients is remembered. The client whose
// last request is the oldest is forgotten first.
//
// No connection or response is wrapped, so the kernel still sends a plain blob from its file to
// the socket.
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

// maxClients is the number of clients that are remembered.
const maxClients = 8192

type requests struct {
	next  http.Handler
	rate  rate.Limit
	burst int

	mu      sync.Mutex
	clients map[netip.Addr]*list.Element
	order   list.List // contains *client; the client with the latest request is in front
}

type client struct {
	addr    netip.Addr
	limiter *rate.Limiter
}

// Requests allows each client perSecond requests per second on average, and bursts of at most
// burst requests. It answers further requests with 429 and Retry-After. It returns an error if
// the rate or the burst allows no request.
func Requests(next http.Handler, perSecond float64, burst int) (http.Handler, error) {
	if !(perSecond > 0) || math.IsInf(perSecond, 0) || burst < 1 {
		return nil, errors.New("rate and burst must be above 0")
	}
	return &requests{next: next, rate: rate.Limit(perSecond), burst: burst, clients: map[netip.Addr]*list.Element{}}, nil
}

func (r *requests) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if addr, ok := parseAddress(req.RemoteAddr); ok {
		if wait := r.wait(clientAddr(addr)); wait > 0 {
			refuse(w, req, wait)
			return
		}
	}
	r.next.ServeHTTP(w, req)
}

// wait counts a request and returns 0 if the client is within its limit. Otherwise, it returns
// how long the client has to wait.
func (r *requests) wait(addr netip.Addr) time.Duration {
	// The lock is held from the reservation to its cancellation. Between the two, another reservation
	// would keep the cancellation from giving the request back to the client.
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	reservation := r.limiter(addr).ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}

// limiter returns the limiter of a client. The caller must hold mu.
func (r *requests) limiter(addr netip.Addr) *rate.Limiter {
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

// tooMany is an error body in the format of the distribution specification 1.1 ("Error Codes").
const tooMany = `{"errors":[{"code":"TOOMANYREQUESTS","message":"too many requests","detail":"this client exceeds its request rate"}]}` + "\n"

func refuse(w http.ResponseWriter, req *http.Request, wait time.Duration) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(tooMany)))
	h.Set("Docker-Distribution-Api-Version", "registry/2.0")
	h.Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	if req.ContentLength != 0 {
		h.Set("Connection", "close") // without this, net/http would wait for the request's body
	}
	w.WriteHeader(http.StatusTooManyRequests)
	if req.Method != http.MethodHead {
		w.Write([]byte(tooMany))
	}
}

// clientAddr returns the address that represents a client. For an IPv6 address, that is the first
// address of its /64 network.
func clientAddr(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		return netip.PrefixFrom(addr, 64).Masked().Addr()
	}
	return addr
}
