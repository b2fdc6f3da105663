package settings

import (
	"fmt"
	"math"
	"net/netip"

	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
)

// Clients says how to identify a client, and how much one may request.
type Clients struct {
	proxies     []string
	Rate        float64
	Burst       int
	Connections int
}

// AddFlags adds the flags to a set.
func (c *Clients) AddFlags(f *pflag.FlagSet) {
	f.StringArrayVar(&c.proxies, "trusted-proxy", nil, "`CIDR` of proxies whose X-Forwarded-For says who the client is, repeatable")
	f.Float64Var(&c.Rate, "client-rate", 0, "`requests` per second that one client may send on average; 0 means any number")
	f.IntVar(&c.Burst, "client-burst", 200, "`requests` that one client may send at once under --client-rate")
	f.IntVar(&c.Connections, "client-connections", 0, "`connections` that one client may have open; 0 means any number, and trusted proxies have no limit")
}

func (c *Clients) check() error {
	switch {
	case c.Rate < 0 || math.IsNaN(c.Rate) || math.IsInf(c.Rate, 0):
		return exit.UsageError(fmt.Errorf("--client-rate %v: must be a positive number of requests per second", c.Rate))
	case c.Burst < 1:
		return exit.UsageError(fmt.Errorf("--client-burst %d: must be at least 1", c.Burst))
	case c.Connections < 0:
		return exit.UsageError(fmt.Errorf("--client-connections %d: must not be negative", c.Connections))
	}
	_, err := c.Trusted()
	return err
}

// Trusted returns the networks of the proxies; a single address is a network too.
func (c *Clients) Trusted() ([]netip.Prefix, error) {
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
