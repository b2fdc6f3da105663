package limit

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Forwarded finds out which client sent a request through trusted proxies, and sets the remote
// address of the request accordingly. The client is the last address in X-Forwarded-For that is not
// a trusted proxy. If the sender is not a trusted proxy, the header is ignored.
func Forwarded(next http.Handler, trusted []netip.Prefix) http.Handler {
	if len(trusted) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if peer, err := netip.ParseAddrPort(req.RemoteAddr); err == nil {
			if client := findClient(peer.Addr(), req.Header["X-Forwarded-For"], trusted); client != peer.Addr() {
				req.RemoteAddr = client.String()
			}
		}
		next.ServeHTTP(w, req)
	})
}

// findClient returns the address of the client that sent a request through peer. Each proxy appends
// the address that it got the request from. So only the end of the header can be trusted: the
// trusted proxies there, and the address before them.
func findClient(peer netip.Addr, forwarded []string, trusted []netip.Prefix) netip.Addr {
	client := peer
	for _, line := range slices.Backward(forwarded) {
		for rest := line; ; {
			if !contains(trusted, client) {
				return client
			}
			i := strings.LastIndexByte(rest, ',')
			addr, ok := parseAddress(strings.TrimSpace(rest[i+1:]))
			if !ok {
				return client
			}
			client = addr
			if i < 0 {
				break
			}
			rest = rest[:i]
		}
	}
	return client
}

// parseAddress parses an IP address with or without a port. It drops the zone of the address.
func parseAddress(s string) (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return addr.WithZone(""), true
	}
	port, err := netip.ParseAddrPort(s)
	return port.Addr().WithZone(""), err == nil
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("") // a prefix contains no address with a zone
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}
