package settings

import (
	"errors"
	"fmt"
	"math"
	"net/netip"

	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/registry/auth"
)

// TLS names the files for TLS at an address.
type TLS struct {
	Cert, Key, ClientCA string
}

// AddFlags adds the flags to a set.
func (t *TLS) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&t.Cert, "tls-cert", "", "`file` with the certificate chain (PEM); reloaded when it changes")
	f.StringVar(&t.Key, "tls-key", "", "`file` with the key of the certificate (PEM)")
	f.StringVar(&t.ClientCA, "client-ca", "", "`file` with certificate authorities (PEM); a client needs a certificate that one of them signed")
}

// On reports whether there is a certificate.
func (t TLS) On() bool { return t.Cert != "" }

// check finds missing files; prefix begins the names of the flags.
func (t TLS) check(prefix string) error {
	if (t.Cert == "") != (t.Key == "") {
		return exit.UsageError(fmt.Errorf("--%stls-cert and --%stls-key must be given together", prefix, prefix))
	}
	if t.ClientCA != "" && !t.On() {
		return exit.UsageError(errors.New("--client-ca needs --tls-cert and --tls-key"))
	}
	return nil
}

// Admin configures who may use the admin address, and its certificate.
type Admin struct {
	Htpasswd string
	TLS      TLS // without a client CA
}

// AddFlags adds the flags to a set.
func (a *Admin) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&a.Htpasswd, "admin-htpasswd", "", "`file` of users and bcrypt hashes (htpasswd -B) who may use the admin address, except for /healthz and /readyz; reloaded when it changes")
	f.StringVar(&a.TLS.Cert, "admin-tls-cert", "", "`file` with the certificate chain (PEM) of the admin address; reloaded when it changes")
	f.StringVar(&a.TLS.Key, "admin-tls-key", "", "`file` with the key of that certificate (PEM)")
}

// check finds flags that cannot be combined; listen is the admin address.
func (a *Admin) check(listen string) error {
	if err := a.TLS.check("admin-"); err != nil {
		return err
	}
	if listen == "" && *a != (Admin{}) {
		return exit.UsageError(exit.WithHint(errors.New("--admin-htpasswd and --admin-tls-… without an admin address"), "remove them, or name the address: --admin-listen 127.0.0.1:5580"))
	}
	return nil
}

// Auth configures who may pull.
type Auth struct {
	Htpasswd string
	Token    auth.Token
}

// AddFlags adds the flags to a set.
func (a *Auth) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&a.Htpasswd, "htpasswd", "", "`file` of users and bcrypt hashes (htpasswd -B) who may pull; reloaded when it changes")
	f.StringVar(&a.Token.Realm, "token-realm", "", "`URL` of the token server whose tokens allow pulls")
	f.StringVar(&a.Token.Service, "token-service", "", "`name` of this registry in tokens, their audience")
	f.StringVar(&a.Token.Issuer, "token-issuer", "", "`name` of the token server in its tokens")
	f.StringVar(&a.Token.RootCerts, "token-root-certs", "", "`file` with the certificates (PEM) that tokens are signed under; reloaded when it changes")
	f.StringVar(&a.Token.JWKS, "token-jwks", "", "`file` with the public keys (JWKS) that tokens are signed with; reloaded when it changes")
}

// On reports whether pulls need a login or a token.
func (a *Auth) On() bool { return a.Htpasswd != "" || a.Token != auth.Token{} }

func (a *Auth) check() error {
	if a.Token == (auth.Token{}) {
		return nil
	}
	if err := a.Token.Check(); err != nil {
		return exit.UsageError(exit.WithHint(err, "the flags are --token-realm, --token-service, --token-issuer and --token-root-certs or --token-jwks"))
	}
	if a.Htpasswd != "" {
		return exit.UsageError(exit.WithHint(errors.New("--htpasswd and --token-… cannot be combined"), "a token server can ask for passwords itself"))
	}
	return nil
}

// Clients configures how to identify a client, and how much a client may request.
type Clients struct {
	proxies     []string
	Rate        float64
	Burst       int
	Connections int
}

// AddFlags adds the flags to a set.
func (c *Clients) AddFlags(f *pflag.FlagSet) {
	f.StringArrayVar(&c.proxies, "trusted-proxy", nil, "`CIDR` of proxies whose X-Forwarded-For identifies the client, repeatable")
	f.Float64Var(&c.Rate, "client-rate", 0, "`requests` per second that one client may send on average; 0 means any number")
	f.IntVar(&c.Burst, "client-burst", 200, "`requests` that one client may send in a burst, with --client-rate")
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

// Trusted returns the networks of trusted proxies; a single address counts as a network.
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
