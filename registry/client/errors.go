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

// The causes that an [Error] may wrap. Use errors.Is to test for one.
var (
	// ErrNotFound means that the registry answered 404.
	ErrNotFound = errors.New("not found")
	// ErrUnauthorized means that the registry answered 401.
	ErrUnauthorized = errors.New("no valid credentials")
	// ErrDenied means that the registry answered 403.
	ErrDenied = errors.New("denied")
	// ErrTooLarge means that the registry answered 413.
	ErrTooLarge = errors.New("the body is too large")
	// ErrRateLimited means that the registry answered 429.
	ErrRateLimited = errors.New("too many requests")
	// ErrServer means that the registry answered 5xx, except 501.
	ErrServer = errors.New("the server fails")
	// ErrRefused stands for any status that no other cause covers.
	ErrRefused = errors.New("refused")
	// ErrUnsupported means that the registry answered 405 or 501.
	ErrUnsupported = errors.New("not supported")
	// ErrUnreachable means that the client could not connect, or that the connection was cut.
	ErrUnreachable = errors.New("unreachable")
	// ErrStalled means that a request made no progress during Options.Silence.
	ErrStalled = errors.New("no progress for too long")
	// ErrCertificate means that the client does not trust the server's TLS certificate.
	ErrCertificate = errors.New("the certificate is not trusted")
	// ErrPlainHTTP means that the server answered a TLS handshake in plain HTTP.
	ErrPlainHTTP = errors.New("the server speaks plain HTTP")
	// ErrNotTLS means that the server answered a TLS handshake in another protocol.
	ErrNotTLS = errors.New("the server does not speak TLS")
	// ErrPrivate means that a realm, a redirect or a Location leads to a private address.
	ErrPrivate = errors.New("the answer leads to a private address")
	// ErrOtherHost means that a login would have to be sent to a host for which it is not meant.
	ErrOtherHost = errors.New("a login is never sent to another host")
	// ErrMismatch means that the answer has a wrong digest, size or range.
	ErrMismatch = errors.New("the answer does not match the request")
	// ErrTooMany means that a list is too long, or that its pages form a loop.
	ErrTooMany = errors.New("the list is too long")
	// ErrCredentials means that the credentials on this machine cannot be read.
	ErrCredentials = errors.New("credentials cannot be read")
)

// Side is the place where an error originates.
type Side string

// The sides.
const (
	// SideLocal means the configuration of this machine.
	SideLocal Side = "local"
	// SideNetwork means the network between this machine and the registry.
	SideNetwork Side = "network"
	SideToken   Side = "token"
	// SideRegistry means the registry, or a proxy in front of it.
	SideRegistry Side = "registry"
)

// Error describes a request that failed permanently.
type Error struct {
	// Op is the operation, such as "put manifest".
	Op   string
	Host string
	// Repository is empty if the request does not concern a repository.
	Repository string
	// Reference is a tag or a digest; it may be empty.
	Reference string
	Side      Side
	// Status is the HTTP status; 0 if there was no answer.
	Status int
	Server string
	// Codes are the errors in the body of the answer, if a registry wrote it.
	Codes []Code
	// Skew is how far the server's clock is ahead of this machine's clock.
	Skew time.Duration
	// Scheme is how the registry asks for a login: basic or bearer; empty if it has not asked.
	Scheme string
	// Anonymous means that there were no credentials to try.
	Anonymous bool

	// Cause is one of the causes that this package defines, such as ErrNotFound.
	Cause error
	Err   error

	// retryAfter is the pause that the server requested.
	retryAfter time.Duration
	// away means that no connection could be made.
	away bool
	// final means that the request is never retried, whatever the cause.
	final bool
}

// Code is one error in the answer of a registry (distribution specification, "Error Codes").
type Code struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	// Detail is text or JSON.
	Detail string `json:"detail"`
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

// maxErrorBody is how many bytes are read from the body of an error answer.
const maxErrorBody = 64 << 10

// ParseCodes returns at most five errors from an error body of a registry or a token server, as
// short printable texts. For any other body, such as an error page of a proxy, it returns nothing.
func ParseCodes(body []byte) (codes []Code) {
	var doc struct {
		Errors []struct {
			Code, Message string
			Detail        json.RawMessage
		}
	}
	// Unmarshal leaves out fields with a wrong type, so its error does not matter.
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
	// Token servers have other formats: Docker Hub uses details, others use error or message.
	var other struct{ Details, Error, Message string }
	if json.Unmarshal(body, &other) == nil {
		if text := cmp.Or(other.Details, other.Error, other.Message); text != "" {
			return []Code{{Message: problem.Excerpt(text, 300)}}
		}
	}
	return nil
}

// detailOf returns the detail of an error as text. The specification leaves its format open:
// Nexus sends text, while Artifactory and Quay send an object that contains text.
func detailOf(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var object struct{ Description, Reason, Message string }
	if json.Unmarshal(raw, &object) == nil {
		text = cmp.Or(object.Description, object.Reason, object.Message)
	}
	if text == "" && len(raw) > 2 { // raw is longer than an empty object or array
		text = string(raw)
	}
	return text
}
