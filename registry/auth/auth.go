// Package auth asks clients who they are before they may pull.
//
// [New] wraps a handler. By a file of users and bcrypt hashes it asks for a name and
// a password (RFC 7617), or by the keys of a token server for a token of the
// distribution project's specification ("Token Authentication Specification"), which
// has to allow pulling from the repository that is asked for. Everything behind the
// wrapper needs credentials, and whoever has none gets 401, the challenge, and the
// error body of the registry API.
//
// Both are access controllers of distribution. Its own one for passwords is not used:
// it creates a file that is missing and logs the password that it wrote, reads a
// file that is half written, and takes the time of a hash for every request. The one
// for tokens is, with its keys read again when they change.
//
// What it promises: files are only ever read. While one cannot be used, as in the
// middle of a change, what was read last counts. A change counts within two
// seconds, for clients too that were let in before. No password and no token is
// kept or logged: of a pair that was right a keyed hash is remembered for a minute.
// The response is handed on as it is, so that a plain blob still goes from its file
// to the socket in the kernel.
package auth

import (
	"errors"
	"net/http"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/distribution/distribution/v3/registry/auth"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/registry/reload"
)

// Options say who may pull: either Htpasswd or Token.
type Options struct {
	// Htpasswd is a file of lines USER:HASH, with bcrypt hashes.
	Htpasswd string
	// Token is whose tokens are taken.
	Token Token
	// Scope is the resource that a request reads, in the words of the token
	// specification: "repository" and its name, "registry" and "catalog", or nothing.
	Scope func(*http.Request) (kind, name string)
	// Log is told when files are read again or cannot be used.
	Log *zap.Logger
}

// watch reads credentials from files, and again when they change.
func watch[T any](log *zap.Logger, files []string, read func() (T, error)) (*reload.Value[T], error) {
	return reload.New(reload.Options[T]{
		Files: files, Read: read,
		Changed: func() { log.Info("credentials read again", zap.Strings("files", files)) },
		Failed: func(err error) {
			log.Warn("credentials cannot be read: the last good ones count", zap.Strings("files", files), zap.Error(err))
		},
	})
}

type guard struct {
	next       http.Handler
	scope      func(*http.Request) (kind, name string)
	controller auth.AccessController
}

// New wraps next. Errors: not exactly one way to authenticate; files that cannot be
// used, with their names.
func New(next http.Handler, o Options) (http.Handler, error) {
	if next == nil || o.Scope == nil || o.Log == nil {
		return nil, errors.New("authentication without a handler, a scope or a log")
	}
	g := &guard{next: next, scope: o.Scope}
	var err error
	switch {
	case o.Htpasswd != "" && o.Token != Token{}:
		err = errors.New("passwords and tokens exclude each other")
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
	h.Set("Docker-Distribution-Api-Version", "registry/2.0")
	if req.ContentLength != 0 {
		h.Set("Connection", "close") // or net/http would wait for the body
	}
	answer := errcode.ErrorCodeUnauthorized
	var challenge auth.Challenge
	if errors.As(err, &challenge) {
		challenge.SetHeaders(req, w)
	} else if answer = errcode.ErrorCodeTooManyRequests; errors.Is(err, errBusy) {
		h.Set("Retry-After", "1")
	}
	// ServeJSON fails only when the client has gone.
	_ = errcode.ServeJSON(w, answer.WithDetail(err.Error()))
}

// access is what a request needs to be allowed. There is nothing to write, so that
// whoever tries needs no more, and is told by the registry that it is read-only.
func (g *guard) access(req *http.Request) []auth.Access {
	kind, name := g.scope(req)
	if kind == "" {
		return nil
	}
	action := "pull"
	if kind == "registry" {
		action = "*" // as distribution asks for the catalog
	}
	return []auth.Access{{Resource: auth.Resource{Type: kind, Name: name}, Action: action}}
}
