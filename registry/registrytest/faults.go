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

// On matches requests of a [Request.Kind].
func On(kind string) Match {
	return func(r *http.Request) bool {
		return Request{Method: r.Method, Path: r.URL.Path}.Kind() == kind
	}
}

// First matches the first n requests that match m.
func First(n int, m Match) Match { return Nth(1, n, m) }

// Nth numbers the requests that match m from 1, and matches those from number from to number to.
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

// when returns a fault that handles matching requests with serve.
func when(m Match, serve func(w http.ResponseWriter, r *http.Request, next http.Handler)) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if !m(r) {
			return false
		}
		serve(w, r, next)
		return true
	}
}

// Answer answers matching requests with a status and header lines ("Name: value"), without a body.
func Answer(m Match, status int, header ...string) Fault {
	return when(m, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		for _, line := range header {
			name, value, _ := strings.Cut(line, ": ")
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
	})
}

// AnswerCode answers matching requests with a status and a code of the specification.
func AnswerCode(m Match, status int, code string) Fault {
	return when(m, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"of a test"}]}`, code)
	})
}

// Reset passes n bytes of the request body to the registry and then resets the connection.
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

// cutting is a request body that fails after some bytes.
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

// Truncate sends n bytes of the answer's body and then cuts the connection.
func Truncate(m Match, n int64) Fault {
	return when(m, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		answer := record(next, r)
		send(w, answer, answer.Body.Bytes()[:min(n, int64(answer.Body.Len()))])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler) // net/http cuts the connection
	})
}

// record returns the answer of the registry.
func record(next http.Handler, r *http.Request) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	next.ServeHTTP(answer, r)
	return answer
}

// send sends a recorded answer with another body.
func send(w http.ResponseWriter, answer *httptest.ResponseRecorder, body []byte) {
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(body)
}

// Lose lets the registry process matching requests, and resets the connection instead of answering.
func Lose(m Match) Fault {
	return when(m, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		record(next, r)
		resetConnection(w)
	})
}

// Stall leaves matching requests without an answer until release is called, and then resets the
// connection.
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

// Edit lets the registry answer matching requests, and edits the header of the answer.
func Edit(m Match, edit func(http.Header)) Fault {
	return when(m, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		answer := record(next, r)
		edit(answer.Header())
		send(w, answer, answer.Body.Bytes())
	})
}

// Spoil lets the registry answer matching requests, and changes the body of the answer and its
// Content-Length: like a cache with a truncated answer, or a bad disk.
func Spoil(m Match, change func(body []byte) []byte) Fault {
	return when(m, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		answer := record(next, r)
		body := change(answer.Body.Bytes())
		answer.Header().Set("Content-Length", strconv.Itoa(len(body)))
		send(w, answer, body)
	})
}

// FlipBit changes a bit in the middle of a body.
func FlipBit(body []byte) []byte {
	body = bytes.Clone(body)
	if len(body) > 0 {
		body[len(body)/2] ^= 1
	}
	return body
}

// CutHalf returns the first half of a body.
func CutHalf(body []byte) []byte { return body[:len(body)/2] }
