package registrytest

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// Match reports whether a fault applies to a request.
type Match func(*http.Request) bool

// On matches requests whose [Request.Kind] is kind.
func On(kind string) Match {
	return func(r *http.Request) bool {
		return Request{Method: r.Method, Path: r.URL.Path}.Kind() == kind
	}
}

// First matches the first n requests that match m.
func First(n int, m Match) Match { return Nth(1, n, m) }

// Nth numbers the requests that match m, starting with 1. It matches those whose number is at
// least from and at most to.
func Nth(from, to int, m Match) Match {
	var matched atomic.Int64
	return func(r *http.Request) bool {
		if !m(r) {
			return false
		}
		n := int(matched.Add(1))
		return n >= from && n <= to
	}
}

func when(m Match, serve func(w http.ResponseWriter, r *http.Request, next http.Handler)) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if !m(r) {
			return false
		}
		serve(w, r, next)
		return true
	}
}

// Answer answers matching requests with a status and without a body. header contains lines of the
// form "Name: value".
func Answer(m Match, status int, header ...string) Fault {
	return when(m, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		for _, line := range header {
			name, value, _ := strings.Cut(line, ": ")
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
	})
}

// AnswerCode answers matching requests with a status and an error code of the specification.
func AnswerCode(m Match, status int, code string) Fault {
	return when(m, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"of a test"}]}`, code)
	})
}

// Reset passes the first n bytes of a request's body to the registry, then resets the connection.
func Reset(m Match, n int64) Fault {
	return when(m, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		r.Body = &cutting{ReadCloser: r.Body, left: n}
		record(next, r)
		resetConnection(w)
	})
}

func resetConnection(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}

// cutting is a request body that ends with an error after left bytes.
type cutting struct {
	io.ReadCloser
	left int64
}

func (c *cutting) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.ReadCloser.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// Truncate sends the first n bytes of the answer's body, and then cuts the connection.
func Truncate(m Match, n int64) Fault {
	return when(m, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		answer := record(next, r)
		send(w, answer, answer.Body.Bytes()[:min(n, int64(answer.Body.Len()))])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler) // this makes net/http cut the connection
	})
}

func record(next http.Handler, r *http.Request) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	next.ServeHTTP(answer, r)
	return answer
}

func send(w http.ResponseWriter, answer *httptest.ResponseRecorder, body []byte) {
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(body)
}

// Lose lets the registry process matching requests, but resets the connection before the answer.
func Lose(m Match) Fault {
	return when(m, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		record(next, r)
		resetConnection(w)
	})
}

// Stall does not answer matching requests. When release is called, it resets the connection.
func Stall(m Match) (f Fault, release func()) {
	released := make(chan struct{})
	var once sync.Once
	f = when(m, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		select {
		case <-released:
		case <-r.Context().Done():
		}
		resetConnection(w)
	})
	return f, func() { once.Do(func() { close(released) }) }
}

// Edit lets the registry answer matching requests, but changes the headers of the answer.
func Edit(m Match, edit func(http.Header)) Fault {
	return when(m, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		answer := record(next, r)
		edit(answer.Header())
		send(w, answer, answer.Body.Bytes())
	})
}

// Spoil lets the registry answer matching requests, but replaces the body of the answer, and
// changes Content-Length accordingly. A truncated cache entry or a bad disk has this effect.
func Spoil(m Match, change func(body []byte) []byte) Fault {
	return when(m, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		answer := record(next, r)
		body := change(answer.Body.Bytes())
		answer.Header().Set("Content-Length", strconv.Itoa(len(body)))
		send(w, answer, body)
	})
}

// FlipBit changes one bit in the middle of a body.
func FlipBit(body []byte) []byte {
	body = bytes.Clone(body)
	if len(body) > 0 {
		body[len(body)/2] ^= 1
	}
	return body
}

// CutHalf returns the first half of a body.
func CutHalf(body []byte) []byte { return body[:len(body)/2] }
