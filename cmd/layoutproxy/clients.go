package main

import (
	"fmt"
	"math"
	"net/http"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/registry/limit"
)

// clientFlags say who a client is, and how much one may ask for.
type clientFlags struct {
	proxies     []string
	rate        float64
	burst       int
	connections int
}

func (c *clientFlags) flags(f *pflag.FlagSet) {
	f.StringArrayVar(&c.proxies, "trusted-proxy", nil, "`CIDR` of proxies whose X-Forwarded-For says who the client is, repeatable")
	f.Float64Var(&c.rate, "client-rate", 0, "`requests` a second that one client may send on average; 0 means any number")
	f.IntVar(&c.burst, "client-burst", 200, "`requests` that one client may send at once under --client-rate")
	f.IntVar(&c.connections, "client-connections", 0, "`connections` that one client may have open, trusted proxies any number; 0 means any number")
}

func (c *clientFlags) check() error {
	switch {
	case c.rate < 0 || math.IsNaN(c.rate) || math.IsInf(c.rate, 0):
		return exit.UsageError(fmt.Errorf("--client-rate %v: not a number of requests", c.rate))
	case c.burst < 1:
		return exit.UsageError(fmt.Errorf("--client-burst %d: less than one request", c.burst))
	case c.connections < 0:
		return exit.UsageError(fmt.Errorf("--client-connections %d: less than none", c.connections))
	}
	_, err := c.trusted()
	return err
}

// trusted are the networks of the proxies; an address is one of its own.
func (c *clientFlags) trusted() ([]netip.Prefix, error) {
	var trusted []netip.Prefix
	for _, s := range c.proxies {
		prefix, err := netip.ParsePrefix(s)
		if addr, addrErr := netip.ParseAddr(s); addrErr == nil {
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return nil, exit.UsageError(exit.WithHint(fmt.Errorf("--trusted-proxy %q: not a network", s), "write it as 10.1.0.0/16 or fd00::/8"))
		}
		trusted = append(trusted, prefix.Masked())
	}
	return trusted, nil
}

// limited bounds the rate of requests, where it is to be.
func (c *clientFlags) limited(next http.Handler) (http.Handler, error) {
	if c.rate == 0 {
		return next, nil
	}
	return limit.Requests(next, c.rate, c.burst)
}

// forwarded finds out who the client is.
func (c *clientFlags) forwarded(next http.Handler) (http.Handler, error) {
	trusted, err := c.trusted()
	return limit.Forwarded(next, trusted), err
}

// connected bounds the connections of a server, where they are to be, and counts
// those that were refused.
func (c *clientFlags) connected(s *http.Server, metrics prometheus.Registerer) error {
	if c.connections == 0 {
		return nil
	}
	trusted, err := c.trusted()
	if err != nil {
		return err
	}
	connections := limit.NewConnections(c.connections, trusted)
	s.ConnState = connections.State
	return metrics.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "layoutproxy_connections_refused_total",
		Help: "Connections closed because their client had --client-connections open.",
	}, func() float64 { return float64(connections.Refused()) }))
}
