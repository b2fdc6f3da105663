package limit

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Forwarded makes the remote address of a request that of the client, where it comes
// from a trusted proxy: the last address in X-Forwarded-For that is not a trusted
// proxy itself. From anybody else the header says nothing.
func Forwarded(next http.Handler, trusted []netip.Prefix) http.Handler {
	if len(trusted) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if peer, err := netip.ParseAddrPort(req.RemoteAddr); err == nil {
			if client := behind(peer.Addr(), req.Header["X-Forwarded-For"], trusted); client != peer.Addr() {
				req.RemoteAddr = client.String()
			}
		}
		next.ServeHTTP(w, req)
	})
}

// behind is who asks by way of peer. Each proxy adds at the end whom it was asked
// by, so that all is true which trusted ones wrote, up to the first that is not.
func behind(peer netip.Addr, forwarded []string, trusted []netip.Prefix) netip.Addr {
	client := peer
	for _, line := range slices.Backward(forwarded) {
		for rest := line; ; {
			if !contains(trusted, client) {
				return client
			}
			i := strings.LastIndexByte(rest, ',')
			addr, ok := hop(strings.TrimSpace(rest[i+1:]))
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

// hop is an address as proxies write them, some with a port.
func hop(s string) (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return addr.WithZone(""), true
	}
	port, err := netip.ParseAddrPort(s)
	return port.Addr().WithZone(""), err == nil
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	addr = addr.Unmap()
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}
