package registrytest

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// Match reports whether a fault applies to a request.
type Match func(*http.Request) bool

// On matches a [Request.Kind].
func On(kind string) Match {
	return func(r *http.Request) bool {
		return Request{Method: r.Method, Path: r.URL.Path}.Kind() == kind
	}
}

// First matches the first n requests that m matches.
func First(n int, m Match) Match { return Nth(1, n, m) }

// Nth matches requests number from to number to, counted from 1, of those that m matches.
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

// Answer answers matching requests with a status and header lines ("Name: value") only.
func Answer(m Match, status int, header ...string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if !m(r) {
			return false
		}
		for _, line := range header {
			name, value, _ := strings.Cut(line, ": ")
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		return true
	}
}

// AnswerCode answers matching requests with a status and a code of the specification.
func AnswerCode(m Match, status int, code string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if !m(r) {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"of a test"}]}`, code)
		return true
	}
}

// Reset passes n bytes of the request body to the registry and then resets the connection.
func Reset(m Match, n int64) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if !m(r) {
			return false
		}
		conn := hijackable(w)
		r.Body = &cutting{ReadCloser: r.Body, left: n}
		next.ServeHTTP(discarder{http.Header{}}, r)
		conn()
		return true
	}
}

// hijackable returns a function that resets the connection of an answer.
func hijackable(w http.ResponseWriter) func() {
	return func() {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		conn.Close()
	}
}

// cutting is a body that breaks off.
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

// discarder discards an answer.
type discarder struct{ header http.Header }

func (d discarder) Header() http.Header         { return d.header }
func (d discarder) Write(p []byte) (int, error) { return len(p), nil }
func (d discarder) WriteHeader(int)             {}

// Truncate sends n bytes of the answer's body and then resets the connection.
func Truncate(m Match, n int64) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if !m(r) {
			return false
		}
		t := &truncating{ResponseWriter: w, left: n}
		next.ServeHTTP(t, r)
		panic(http.ErrAbortHandler) // net/http cuts the connection
	}
}

type truncating struct {
	http.ResponseWriter
	left int64
}

func (t *truncating) Write(p []byte) (int, error) {
	if int64(len(p)) <= t.left {
		t.left -= int64(len(p))
		return t.ResponseWriter.Write(p)
	}
	n, _ := t.ResponseWriter.Write(p[:t.left])
	t.left = 0
	_ = http.NewResponseController(t.ResponseWriter).Flush()
	return n, io.ErrShortWrite
}

// Lose lets the registry process matching requests, and cuts the connection instead of answering.
func Lose(m Match) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if !m(r) {
			return false
		}
		next.ServeHTTP(discarder{http.Header{}}, r)
		hijackable(w)()
		return true
	}
}

// Stall accepts matching requests and never answers, until release is called.
func Stall(m Match) (f Fault, release func()) {
	released := make(chan struct{})
	var once sync.Once
	f = func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if !m(r) {
			return false
		}
		select {
		case <-released:
		case <-r.Context().Done():
		}
		hijackable(w)()
		return true
	}
	return f, func() { once.Do(func() { close(released) }) }
}

// Edit lets the registry answer matching requests, and edits the header of the answer.
func Edit(m Match, edit func(http.Header)) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if !m(r) {
			return false
		}
		next.ServeHTTP(&editing{ResponseWriter: w, edit: edit}, r)
		return true
	}
}

type editing struct {
	http.ResponseWriter
	edit func(http.Header)
	done bool
}

func (e *editing) WriteHeader(status int) {
	if !e.done {
		e.done = true
		e.edit(e.Header())
	}
	e.ResponseWriter.WriteHeader(status)
}

func (e *editing) Write(p []byte) (int, error) {
	if !e.done {
		e.WriteHeader(http.StatusOK)
	}
	return e.ResponseWriter.Write(p)
}

// Spoil lets the registry answer matching requests, and changes the body of the answer,
// with a matching length: like a cache that stored a truncated answer, or a bad disk.
func Spoil(m Match, change func(body []byte) []byte) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if !m(r) {
			return false
		}
		kept := &keeping{header: http.Header{}, status: http.StatusOK}
		next.ServeHTTP(kept, r)
		maps.Copy(w.Header(), kept.header)
		body := change(kept.body.Bytes())
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(kept.status)
		_, _ = w.Write(body)
		return true
	}
}

// keeping buffers an answer.
type keeping struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (k *keeping) Header() http.Header         { return k.header }
func (k *keeping) WriteHeader(status int)      { k.status = status }
func (k *keeping) Write(p []byte) (int, error) { return k.body.Write(p) }

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
