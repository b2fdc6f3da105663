package auth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/distribution/distribution/v3/registry/auth"
	_ "github.com/distribution/distribution/v3/registry/auth/token" // registers the access controller named "token"
	"github.com/sirupsen/logrus"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/registry/reload"
)

// Token configures which tokens the registry accepts. All fields are required, except that one of
// RootCerts and JWKS is enough.
type Token struct {
	// Realm is the URL of the token server, which is sent to clients.
	Realm string
	// Service is the name of this registry. Tokens must have it as their audience.
	Service string
	// Issuer is the name of the token server. Tokens must have it as their issuer.
	Issuer string

	// RootCerts is a PEM file with the root certificates of the keys that sign tokens.
	RootCerts string
	// JWKS is a file with the public keys of the token server (JSON Web Key Set).
	JWKS string
}

// Check returns an error if a field is missing or malformed.
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

// tokens checks tokens with distribution's access controller. When the files with its keys
// change, it creates a new controller.
type tokens struct {
	controller *reload.Value[auth.AccessController]
}

func newTokens(t Token, log *zap.Logger) (*tokens, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	// By default, the controller logs parts of each refused token, which the client chooses.
	logrus.SetLevel(logrus.WarnLevel)
	// Algorithms with a shared secret are not accepted: whoever can verify tokens could also
	// create them.
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

// checkRegular returns an error if one of the files is not a regular file. The controller opens
// the files itself, and would wait forever for the writer of a named pipe.
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

// Authorized grants access if the request has a valid token that allows everything in access.
func (t *tokens) Authorized(req *http.Request, access ...auth.Access) (*auth.Grant, error) {
	return t.controller.Get().Authorized(req, access...)
}
