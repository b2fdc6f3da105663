package auth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/distribution/distribution/v3/registry/auth"
	_ "github.com/distribution/distribution/v3/registry/auth/token" // the controller named "token"
	"github.com/sirupsen/logrus"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/registry/reload"
)

// Token configures which tokens are accepted. All fields are required, except that one of the two
// files suffices.
type Token struct {
	Realm   string // the token server's URL, sent to clients
	Service string // the name of this registry, the tokens' audience
	Issuer  string // the token server's name, in the issuer field of tokens

	RootCerts string // a PEM file of the certificates that the keys of tokens chain to
	JWKS      string // a file with public keys (JSON Web Key Set)
}

// Check reports what is missing or malformed.
func (t Token) Check() error {
	if t.Realm == "" || t.Service == "" || t.Issuer == "" {
		return errors.New("token authentication needs a realm, a service and an issuer")
	}
	if u, err := url.Parse(t.Realm); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("the token realm %q is not an http or https URL", t.Realm)
	}
	if t.RootCerts == "" && t.JWKS == "" {
		return errors.New("token authentication needs root certificates or a JWKS")
	}
	return nil
}

// tokens is distribution's controller, created again when the files with its keys change.
type tokens struct {
	controller *reload.Value[auth.AccessController]
}

func newTokens(t Token, log *zap.Logger) (*tokens, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	// The controller would log parts of each refused token, which the client chooses.
	logrus.SetLevel(logrus.WarnLevel)
	// Algorithms with a shared secret are excluded: whoever can verify tokens could also make them.
	algorithms := []any{"EdDSA", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"}
	options := map[string]any{"realm": t.Realm, "service": t.Service, "issuer": t.Issuer, "signingalgorithms": algorithms}
	var files []string
	for key, file := range map[string]string{"rootcertbundle": t.RootCerts, "jwks": t.JWKS} {
		if file != "" {
			options[key] = file
			files = append(files, file)
		}
	}
	controller, err := watch(log, files, func() (auth.AccessController, error) {
		if err := checkRegular(files); err != nil {
			return nil, err
		}
		return auth.GetAccessController("token", options)
	})
	if err != nil {
		return nil, err
	}
	return &tokens{controller}, nil
}

// checkRegular returns an error if a file is not a regular file: the controller opens the
// files itself, and a named pipe would block it.
func checkRegular(files []string) error {
	for _, file := range files {
		f, err := plainfile.Open(file)
		if err != nil {
			return fmt.Errorf("credentials: %w", err)
		}
		f.Close()
	}
	return nil
}

// Authorized grants access to a request with a valid token that allows all of access.
func (t *tokens) Authorized(req *http.Request, access ...auth.Access) (*auth.Grant, error) {
	return t.controller.Get().Authorized(req, access...)
}
