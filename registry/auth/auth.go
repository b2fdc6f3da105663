// Package auth requires clients to log in before they may pull.
//
// [New] wraps a handler. With a file of users and bcrypt hashes, clients log in with a name and a
// password (RFC 7617). With the keys of a token server, they need a token that allows pulling from
// the requested repository (distribution's "Token Authentication Specification"). A request without
// valid credentials gets 401, the challenge, and the error body of the registry API.
//
// Distribution's own access controller checks tokens, and is created again when its keys change.
// Distribution's controller for passwords is not used: it creates a missing file and logs the
// password of that file, uses a half-written file, and hashes on every request.
//
// This package never writes the files. While a file cannot be used, for example in the middle of a
// change, its last valid content applies. A change takes effect within two seconds, even for
// clients that have logged in before. Passwords and tokens are neither stored nor logged. Only a
// keyed hash of a valid name and password is remembered for a minute. The response is not wrapped,
// so that the kernel still sends a blob directly from its file to the socket.
package auth

import (
	"errors"
	"net/http"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/distribution/distribution/v3/registry/auth"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/registry/reload"
)

// Options configures who may pull: set either Htpasswd or Token.
type Options struct {
	// Htpasswd is a file of USER:HASH lines, with bcrypt hashes.
	Htpasswd string
	Token    Token
	// Scope returns the resource that a request reads, in the terms of the token specification.
	// That is "repository" and its name, "registry" and "catalog", or two empty strings.
	Scope func(*http.Request) (kind, name string)
	// Refuse answers a refused request, after the challenge has been added to the headers. If
	// Refuse is nil, the answer has the error body of the registry API.
	Refuse func(w http.ResponseWriter, status int, reason string)
	// Log gets a line when a file of credentials was read again or cannot be used.
	Log *zap.Logger
}

// watch reads credentials from files, and reads them again when they change.
func watch[T any](log *zap.Logger, files []string, read func() (T, error)) (*reload.Value[T], error) {
	return reload.New(reload.Options[T]{
		Files: files, Read: read,
		Changed: func() { log.Info("credentials read again", zap.Strings("files", files)) },
		Failed: func(err error) {
			log.Warn("credentials cannot be read: the last valid ones stay in effect", zap.Strings("files", files), zap.Error(err))
		},
	})
}

type guard struct {
	next       http.Handler
	options    Options
	controller auth.AccessController
}

// New returns a handler that checks the credentials of each request before it calls next. It
// returns an error if an option is missing, if both Htpasswd and Token are set, or if a file is
// unusable.
func New(next http.Handler, o Options) (http.Handler, error) {
	if next == nil || o.Scope == nil || o.Log == nil {
		return nil, errors.New("authentication needs a handler, a scope and a log")
	}
	g := &guard{next: next, options: o}
	var err error
	switch {
	case o.Htpasswd != "" && o.Token != Token{}:
		err = errors.New("passwords and tokens cannot be combined")
	case o.Htpasswd != "":
		g.controller, err = newPasswords(o.Htpasswd, o.Log)
	default:
		g.controller, err = newTokens(o.Token, o.Log)
	}
	if err != nil {
		return nil, err
	}
	return g, nil
}

func (g *guard) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	_, err := g.controller.Authorized(req, g.access(req)...)
	if err == nil {
		g.next.ServeHTTP(w, req)
		return
	}
	h := w.Header()
	if req.ContentLength != 0 {
		h.Set("Connection", "close") // without this, net/http would wait for the request's body
	}
	answer := errcode.ErrorCodeUnauthorized
	var challenge auth.Challenge
	if errors.As(err, &challenge) {
		challenge.SetHeaders(req, w)
	} else if answer = errcode.ErrorCodeTooManyRequests; errors.Is(err, errBusy) {
		h.Set("Retry-After", "1")
	}
	if g.options.Refuse != nil {
		g.options.Refuse(w, answer.Descriptor().HTTPStatusCode, err.Error())
		return
	}
	h.Set("Docker-Distribution-Api-Version", "registry/2.0")
	// ServeJSON fails only if the client has disconnected.
	_ = errcode.ServeJSON(w, answer.WithDetail(err.Error()))
}

// access returns the permission that a request needs. It does not depend on the method: a client
// that tries to write needs only pull, because the registry refuses the write anyway, with an
// answer that it is read-only.
func (g *guard) access(req *http.Request) []auth.Access {
	kind, name := g.options.Scope(req)
	if kind == "" {
		return nil
	}
	action := "pull"
	if kind == "registry" {
		action = "*" // distribution requires this action for requests to the catalog
	}
	return []auth.Access{{Resource: auth.Resource{Type: kind, Name: name}, Action: action}}
}
