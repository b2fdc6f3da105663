package client

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
)

// The causes that an [Error] may wrap. Test with errors.Is.
var (
	ErrNotFound     = errors.New("not found")                                  // 404: it is not there
	ErrUnauthorized = errors.New("no valid credentials")                       // 401
	ErrDenied       = errors.New("denied")                                     // 403
	ErrTooLarge     = errors.New("the body is too large")                      // 413
	ErrRateLimited  = errors.New("too many requests")                          // 429
	ErrServer       = errors.New("the server is failing")                      // 5xx
	ErrRefused      = errors.New("refused")                                    // any other status
	ErrUnsupported  = errors.New("not supported")                              // 405, 501
	ErrUnreachable  = errors.New("unreachable")                                // no connection, or it was cut
	ErrStalled      = errors.New("nothing was heard for too long")             // a silence
	ErrCertificate  = errors.New("the certificate is not trusted")             // TLS
	ErrPlainHTTP    = errors.New("the server speaks plain HTTP")               // and was asked by TLS
	ErrNotTLS       = errors.New("the server does not speak TLS")              // and was asked by TLS
	ErrPrivate      = errors.New("leads to a private address")                 // a realm, a redirect or a Location
	ErrOtherHost    = errors.New("the login of one host is shown to no other") // a redirect, a Location or a realm
	ErrMismatch     = errors.New("the answer is not what was asked")           // wrong digest, size or range
	ErrTooMany      = errors.New("more than is read")                          // a list without an end
	ErrCredentials  = errors.New("credentials cannot be read")                 // ours, on this machine
)

// Side is where the fault of an error lies.
type Side string

// The sides.
const (
	SideLocal    Side = "local"    // this machine's configuration
	SideNetwork  Side = "network"  // between here and there
	SideToken    Side = "token"    // the token server
	SideRegistry Side = "registry" // the registry, or what stands in front of it
)

// Error is a request that failed for good.
type Error struct {
	Op         string // what was asked, as "put manifest"
	Host       string // who was asked
	Repository string // empty where none is concerned
	Reference  string // tag or digest; may be empty
	Side       Side
	Status     int           // of HTTP; 0 without an answer
	Server     string        // the Server header of the answer
	Codes      []Code        // of the answer's body, where it is one of a registry
	Skew       time.Duration // by which the clock of the answer is ahead of ours
	Scheme     string        // by which the registry wants logins: basic or bearer; empty if it has not asked for one
	Anonymous  bool          // there was no login to try

	Cause error // one of the causes
	Err   error // more about it; may be nil

	retryAfter time.Duration // that the server asked for
	away       bool          // no connection was to be had
	final      bool          // not to be tried again whatever the cause
}

// Code is one error of a registry's answer (distribution specification, "Error Codes").
type Code struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Detail  string `json:"detail"` // text, or the JSON of something else
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

// HasCode says whether the registry's answer names the code, as NAME_UNKNOWN.
func (e *Error) HasCode(code string) bool {
	for _, c := range e.Codes {
		if c.Code == code {
			return true
		}
	}
	return false
}

// temporary says whether the same request may fare better a little later.
func (e *Error) temporary() bool {
	if e.final {
		return false
	}
	switch {
	case e.Status == http.StatusRequestTimeout:
		return true
	case errors.Is(e.Cause, ErrRateLimited), errors.Is(e.Cause, ErrServer), errors.Is(e.Cause, ErrStalled), errors.Is(e.Cause, ErrUnreachable):
		return true
	}
	return false
}

// causeOf is the cause that a status speaks of.
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

// maxErrorBody is how much is read of an answer that is an error.
const maxErrorBody = 64 << 10

// codesOf reads the body of an error. What is not a registry's (a proxy's page, say)
// has none.
func codesOf(body []byte) (codes []Code) {
	var doc struct {
		Errors []struct {
			Code, Message string
			Detail        json.RawMessage
		}
	}
	// What is of another form in it says nothing.
	_ = json.Unmarshal(body, &doc)
	for _, e := range doc.Errors[:min(len(doc.Errors), 5)] {
		code := Code{oneLine(e.Code, 60), oneLine(e.Message, 300), oneLine(detailOf(e.Detail), 300)}
		if code != (Code{}) {
			codes = append(codes, code)
		}
	}
	if len(codes) > 0 {
		return codes
	}
	// Token servers have forms of their own: Docker Hub's details, and error.
	var other struct{ Details, Error, Message string }
	if json.Unmarshal(body, &other) == nil {
		if text := cmp.Or(other.Details, other.Error, other.Message); text != "" {
			return []Code{{Message: oneLine(text, 300)}}
		}
	}
	return nil
}

// detailOf is the detail of an error as text. The specification leaves its form open: it
// is text for Nexus, and for Artifactory and Quay an object with a text.
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

// oneLine makes text of a server fit for a line of ours.
func oneLine(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}
