package settings

import (
	"errors"

	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/registry/auth"
)

// Auth says who may pull.
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

// On reports whether anything restricts who may pull.
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
