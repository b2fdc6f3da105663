package client

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// The causes that an [Error] may wrap. Test with errors.Is.
var (
	ErrNotFound     = errors.New("not found")                             // 404
	ErrUnauthorized = errors.New("no valid credentials")                  // 401
	ErrDenied       = errors.New("denied")                                // 403
	ErrTooLarge     = errors.New("the body is too large")                 // 413
	ErrRateLimited  = errors.New("too many requests")                     // 429
	ErrServer       = errors.New("the server fails")                      // 5xx
	ErrRefused      = errors.New("refused")                               // any other status
	ErrUnsupported  = errors.New("not supported")                         // 405, 501
	ErrUnreachable  = errors.New("unreachable")                           // no connection, or it was cut
	ErrStalled      = errors.New("no progress for too long")              // see Options.Silence
	ErrCertificate  = errors.New("the certificate is not trusted")        // TLS
	ErrPlainHTTP    = errors.New("the server speaks plain HTTP")          // to a request with TLS
	ErrNotTLS       = errors.New("the server does not speak TLS")         // to a request with TLS
	ErrPrivate      = errors.New("it leads to a private address")         // a realm, a redirect or a Location
	ErrOtherHost    = errors.New("a login is never sent to another host") // a realm, a redirect or a Location
	ErrMismatch     = errors.New("the answer does not match the request") // wrong digest, size or range
	ErrTooMany      = errors.New("the list is too long")                  // or its pages have no end
	ErrCredentials  = errors.New("credentials cannot be read")            // on this machine
)

// Side is where an error originates.
type Side string

// The sides.
const (
	SideLocal    Side = "local"    // this machine's configuration
	SideNetwork  Side = "network"  // between this machine and the registry
	SideToken    Side = "token"    // the token server
	SideRegistry Side = "registry" // the registry, or a proxy in front of it
)

// Error is a request that failed permanently.
type Error struct {
	Op         string // the operation, such as "put manifest"
	Host       string // the host that was contacted
	Repository string // empty if the request is not about one
	Reference  string // tag or digest; may be empty
	Side       Side
	Status     int           // of HTTP; 0 without an answer
	Server     string        // the Server header of the answer
	Codes      []Code        // from the answer's body, if a registry wrote it
	Skew       time.Duration // how far the server's clock is ahead of ours
	Scheme     string        // how the registry asks for a login: basic or bearer; empty if it has not asked
	Anonymous  bool          // there were no credentials to try

	Cause error // one of the causes
	Err   error // details; may be nil

	retryAfter time.Duration // requested by the server
	away       bool          // no connection could be made
	final      bool          // never retried, whatever the cause
}

// Code is one error of a registry's answer (distribution specification, "Error Codes").
type Code struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Detail  string `json:"detail"` // text, or JSON
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Repository != "" {
		b.WriteString(" " + e.Repository)
		switch {
		case strings.Contains(e.Reference, ":"):
			b.WriteString("@" + e.Reference)
		case e.Reference != "":
			b.WriteString(":" + e.Reference)
		}
	}
	fmt.Fprintf(&b, ": %s", e.Host)
	if e.Status != 0 {
		fmt.Fprintf(&b, " answers %d %s", e.Status, http.StatusText(e.Status))
	}
	fmt.Fprintf(&b, ": %v", e.Cause)
	for _, c := range e.Codes {
		fmt.Fprintf(&b, ": %s", strings.TrimSpace(c.Code+" "+c.Message))
		if c.Detail != "" && !strings.ContainsAny(c.Detail[:1], "{[") && !strings.Contains(c.Message, c.Detail) {
			fmt.Fprintf(&b, ": %s", c.Detail)
		}
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Cause}
	}
	return []error{e.Cause, e.Err}
}

// HasCode reports whether the registry's answer contains the code, such as NAME_UNKNOWN.
func (e *Error) HasCode(code string) bool {
	return slices.ContainsFunc(e.Codes, func(c Code) bool { return c.Code == code })
}

// temporary reports whether the same request may succeed later.
func (e *Error) temporary() bool {
	causes := []error{ErrRateLimited, ErrServer, ErrStalled, ErrUnreachable}
	return !e.final && (e.Status == http.StatusRequestTimeout || slices.Contains(causes, e.Cause))
}

func causeOf(status int) error {
	switch status {
	case http.StatusNotFound:
		return ErrNotFound
	case http.StatusUnauthorized:
		return ErrUnauthorized
	case http.StatusForbidden:
		return ErrDenied
	case http.StatusRequestEntityTooLarge:
		return ErrTooLarge
	case http.StatusTooManyRequests:
		return ErrRateLimited
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return ErrUnsupported
	}
	if status >= 500 {
		return ErrServer
	}
	return ErrRefused
}

// maxErrorBody is how many bytes of the body of an error are read.
const maxErrorBody = 64 << 10

// ParseCodes returns the errors in the body of an answer as short printable texts, at most
// five. It returns nothing for a body that no registry wrote, such as the page of a proxy.
func ParseCodes(body []byte) (codes []Code) {
	var doc struct {
		Errors []struct {
			Code, Message string
			Detail        json.RawMessage
		}
	}
	// Fields of another type are ignored.
	_ = json.Unmarshal(body, &doc)
	for _, e := range doc.Errors[:min(len(doc.Errors), 5)] {
		code := Code{problem.Excerpt(e.Code, 60), problem.Excerpt(e.Message, 300), problem.Excerpt(detailOf(e.Detail), 300)}
		if code != (Code{}) {
			codes = append(codes, code)
		}
	}
	if len(codes) > 0 {
		return codes
	}
	// Token servers have their own formats: Docker Hub's details, and error.
	var other struct{ Details, Error, Message string }
	if json.Unmarshal(body, &other) == nil {
		if text := cmp.Or(other.Details, other.Error, other.Message); text != "" {
			return []Code{{Message: problem.Excerpt(text, 300)}}
		}
	}
	return nil
}

// detailOf returns the detail of an error as text. The specification leaves its format
// open: Nexus sends text, Artifactory and Quay an object that contains text.
func detailOf(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var object struct{ Description, Reason, Message string }
	if json.Unmarshal(raw, &object) == nil {
		text = cmp.Or(object.Description, object.Reason, object.Message)
	}
	if text == "" && len(raw) > 2 { // more than {} or []
		text = string(raw)
	}
	return text
}
