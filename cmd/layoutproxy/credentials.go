package main

import (
	"errors"
	"net/http"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/registry"
	"github.com/layoutproxy/layoutproxy/registry/auth"
)

// authFlags say who may pull.
type authFlags struct {
	htpasswd string
	token    auth.Token
}

func (a *authFlags) flags(f *pflag.FlagSet) {
	f.StringVar(&a.htpasswd, "htpasswd", "", "`file` of users and bcrypt hashes (htpasswd -B) who may pull; read again when it changes")
	f.StringVar(&a.token.Realm, "token-realm", "", "`URL` of the token server whose tokens let pull")
	f.StringVar(&a.token.Service, "token-service", "", "`name` of this registry in tokens, their audience")
	f.StringVar(&a.token.Issuer, "token-issuer", "", "`name` of the token server in its tokens")
	f.StringVar(&a.token.RootCerts, "token-root-certs", "", "`file` with the certificates (PEM) that tokens are signed under; read again when it changes")
	f.StringVar(&a.token.JWKS, "token-jwks", "", "`file` with the public keys (JWKS) that tokens are signed with; read again when it changes")
}

func (a *authFlags) on() bool { return a.htpasswd != "" || a.token != auth.Token{} }

func (a *authFlags) check() error {
	if a.token == (auth.Token{}) {
		return nil
	}
	if err := a.token.Check(); err != nil {
		return exit.UsageError(exit.WithHint(err, "the flags are --token-realm, --token-service, --token-issuer and --token-root-certs or --token-jwks"))
	}
	if a.htpasswd != "" {
		return exit.UsageError(exit.WithHint(errors.New("--htpasswd and --token-… exclude each other"), "a token server can ask for passwords itself"))
	}
	return nil
}

// wrap lets through to next only who may pull.
func (a *authFlags) wrap(next http.Handler, log *zap.Logger) (http.Handler, error) {
	if !a.on() {
		return next, nil
	}
	return auth.New(next, auth.Options{Htpasswd: a.htpasswd, Token: a.token, Scope: registry.Scope, Log: log})
}
