package settings

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"

	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/registry/auth"
)

// TLS names the certificate files of an address.
type TLS struct {
	Cert, Key, ClientCA string
}

// AddFlags adds --tls-cert, --tls-key and --client-ca.
func (t *TLS) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&t.Cert, "tls-cert", "", "PEM `file` with the certificate chain; reloaded when it changes")
	f.StringVar(&t.Key, "tls-key", "", "PEM `file` with the key of the certificate")
	f.StringVar(&t.ClientCA, "client-ca", "", "PEM `file` with certificate authorities; each client must show a certificate from one of them")
}

// On reports whether TLS is on, that is, whether a certificate file is set.
func (t TLS) On() bool { return t.Cert != "" }

// check returns an error if a file is set without another file that it needs. prefix is the
// beginning of the flags' names.
func (t TLS) check(prefix string) error {
	if (t.Cert == "") != (t.Key == "") {
		return exit.UsageError(fmt.Errorf("--%stls-cert and --%stls-key must be given together", prefix, prefix))
	}
	if t.ClientCA != "" && !t.On() {
		return exit.UsageError(errors.New("--client-ca needs --tls-cert and --tls-key"))
	}
	return nil
}

// Admin configures the admin address: who may use it, and its TLS certificate.
type Admin struct {
	Htpasswd string
	TLS      TLS // The field ClientCA is always empty.
}

// AddFlags adds --admin-htpasswd, --admin-tls-cert and --admin-tls-key.
func (a *Admin) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&a.Htpasswd, "admin-htpasswd", "", "`file` with users and bcrypt hashes (htpasswd -B): only they may use the admin address, except for /healthz and /readyz; reloaded when it changes")
	f.StringVar(&a.TLS.Cert, "admin-tls-cert", "", "PEM `file` with the certificate chain of the admin address; reloaded when it changes")
	f.StringVar(&a.TLS.Key, "admin-tls-key", "", "PEM `file` with the key of the certificate in --admin-tls-cert")
}

// check returns an error for flags that cannot be combined. listen is the admin address.
func (a *Admin) check(listen string) error {
	if err := a.TLS.check("admin-"); err != nil {
		return err
	}
	if listen == "" && *a != (Admin{}) {
		return exit.UsageError(exit.WithHint(errors.New("--admin-htpasswd and --admin-tls-… cannot be used without an admin address"), "remove these flags, or name the address: --admin-listen 127.0.0.1:5580"))
	}
	return nil
}

// Auth configures who may pull.
type Auth struct {
	Htpasswd string
	Token    auth.Token
}

// AddFlags adds --htpasswd, and the flags that begin with --token-.
func (a *Auth) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&a.Htpasswd, "htpasswd", "", "`file` with users and bcrypt hashes (htpasswd -B): only they may pull; reloaded when it changes")
	f.StringVar(&a.Token.Realm, "token-realm", "", "`URL` of the token server: its tokens allow pulls")
	f.StringVar(&a.Token.Service, "token-service", "", "`name` of this registry in tokens: the audience")
	f.StringVar(&a.Token.Issuer, "token-issuer", "", "`name` of the token server in tokens: the issuer")
	f.StringVar(&a.Token.RootCerts, "token-root-certs", "", "PEM `file` with the root certificates for the signatures of tokens; reloaded when it changes")
	f.StringVar(&a.Token.JWKS, "token-jwks", "", "JWKS `file` with the public keys for the signatures of tokens; reloaded when it changes")
}

// On reports whether a pull needs a login or a token.
func (a *Auth) On() bool { return a.Htpasswd != "" || a.Token != auth.Token{} }

func (a *Auth) check() error {
	if a.Token == (auth.Token{}) {
		return nil
	}
	if err := a.Token.Check(); err != nil {
		return exit.UsageError(exit.WithHint(err, "give --token-realm, --token-service and --token-issuer, and --token-root-certs or --token-jwks"))
	}
	if a.Htpasswd != "" {
		return exit.UsageError(exit.WithHint(errors.New("--htpasswd and --token-… cannot be combined"), "remove --htpasswd: the token server can ask for passwords itself"))
	}
	return nil
}

// Clients configures how clients are distinguished, and the limits per client.
type Clients struct {
	proxies     []string
	Rate        float64
	Burst       int
	Connections int
}

// AddFlags adds --trusted-proxy and the limits per client.
func (c *Clients) AddFlags(f *pflag.FlagSet) {
	f.StringArrayVar(&c.proxies, "trusted-proxy", nil, "network of trusted proxies, as `CIDR`: their X-Forwarded-For header names the client; repeatable")
	f.Float64Var(&c.Rate, "client-rate", 0, "`requests` per second that each client may send on average; 0 means no limit")
	f.IntVar(&c.Burst, "client-burst", 200, "`requests` that each client may send in a burst, if --client-rate is set")
	f.IntVar(&c.Connections, "client-connections", 0, "`connections` that each client may have open; 0 means no limit; trusted proxies are never limited")
}

func (c *Clients) check() error {
	switch {
	case c.Rate < 0 || math.IsNaN(c.Rate) || math.IsInf(c.Rate, 0):
		return exit.UsageError(fmt.Errorf("--client-rate %v: must be a number of requests per second, or 0 for no limit", c.Rate))
	case c.Burst < 1:
		return exit.UsageError(fmt.Errorf("--client-burst %d: must be at least 1", c.Burst))
	case c.Connections < 0:
		return exit.UsageError(fmt.Errorf("--client-connections %d: must not be negative", c.Connections))
	}
	_, err := c.Trusted()
	return err
}

// Trusted returns the networks of the trusted proxies. A single address is returned as a network. An empty value
// means no proxies.
func (c *Clients) Trusted() ([]netip.Prefix, error) {
	if slices.Equal(c.proxies, []string{""}) {
		return nil, nil
	}
	var trusted []netip.Prefix
	for _, s := range c.proxies {
		prefix, err := netip.ParsePrefix(s)
		if addr, addrErr := netip.ParseAddr(s); addrErr == nil {
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return nil, exit.UsageError(exit.WithHint(fmt.Errorf("--trusted-proxy %q: not a network", s), "write a network such as 10.1.0.0/16 or fd00::/8"))
		}
		trusted = append(trusted, prefix.Masked())
	}
	return trusted, nil
}
