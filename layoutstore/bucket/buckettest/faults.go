package buckettest

import (
	"net/http"
)

// Fault says how a request fails. With the zero value it does not fail.
type Fault struct {
	// If Status is not 0, the answer is Status and Code, and the store does not get the request.
	Status int
	Code   string
	// Drop closes the connection before the store gets the request.
	Drop bool
	// DropAnswer closes the connection after the store has processed the request.
	DropAnswer bool
	// Cut closes the connection after CutAfter bytes of the body of the answer.
	Cut      bool
	CutAfter int64
	// Then is called before the store gets the request, for example to change an object or to end a context.
	Then func()
}

// Unavailable returns an answer of 503.
func Unavailable() Fault { return Fault{Status: http.StatusServiceUnavailable, Code: "SlowDown"} }

// Fail sets the function that decides how each further request fails; with nil none fails. fault is called for one request
// at a time.
func (s *Server) Fail(fault func(Request) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// Unreachable breaks every connection from now on, until [Server.Fail] is called with nil.
func (s *Server) Unreachable() { s.Fail(func(Request) Fault { return Fault{Drop: true} }) }

// before applies what the fault does ahead of the store, and reports whether the request ends there.
func (f Fault) before(w http.ResponseWriter) bool {
	if f.Then != nil {
		f.Then()
	}
	if f.Drop {
		panic(http.ErrAbortHandler)
	}
	if f.Status != 0 {
		answerError(w, f.Status, f.Code)
		return true
	}
	return false
}

// answer is the answer of the store. It applies the fault, and compares If-Match with the ETag.
type answer struct {
	w       http.ResponseWriter
	fault   Fault
	read    bool // the request is a GET or a HEAD
	ifMatch string

	begun   bool
	refused bool  // because of If-Match
	sent    int64 // bytes of the body
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.w.Header() }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.begun {
		return
	}
	a.begun = true
	if a.fault.DropAnswer {
		return
	}
	if etag := a.Header().Get("ETag"); a.read && status < 300 && a.ifMatch != "" && etag != a.ifMatch && a.ifMatch != "*" {
		a.refused = true
		a.Header().Del("Content-Length")
		a.Header().Del("Content-Range")
		answerError(a.w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	}
	a.w.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if a.refused || a.fault.DropAnswer {
		return len(p), nil
	}
	if a.fault.Cut && a.sent+int64(len(p)) >= a.fault.CutAfter {
		_, _ = a.w.Write(p[:max(0, a.fault.CutAfter-a.sent)])
		_ = http.NewResponseController(a.w).Flush()
		panic(http.ErrAbortHandler)
	}
	a.sent += int64(len(p))
	return a.w.Write(p)
}

// end ends the answer.
func (a *answer) end() {
	if a.fault.DropAnswer {
		panic(http.ErrAbortHandler)
	}
	a.WriteHeader(http.StatusOK)
}
