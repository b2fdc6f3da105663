package buckettest

import (
	"net/http"
)

// Fault is what becomes of a request. The zero value is nothing.
type Fault struct {
	// Status is answered with Code instead of handing the request to the store.
	Status int
	Code   string
	// Drop closes the connection before the store gets the request.
	Drop bool
	// DropAnswer closes the connection after the store has carried the request out.
	DropAnswer bool
	// Cut closes the connection after CutAfter bytes of the body of the answer.
	Cut      bool
	CutAfter int64
	// Then is called before the store gets the request: to change an object, or to end a context.
	Then func()
}

// Unavailable is a store that answers 503.
func Unavailable() Fault { return Fault{Status: http.StatusServiceUnavailable, Code: "SlowDown"} }

// Fail decides from now on what becomes of each request; nil makes none fail. The function is called for one request at a time.
func (s *Server) Fail(fault func(Request) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// Unreachable makes every connection break from now on; until [Server.Fail] with nil.
func (s *Server) Unreachable() { s.Fail(func(Request) Fault { return Fault{Drop: true} }) }

// before carries out what comes before the store, and reports whether that is all.
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

// answer is the answer to a request, which fails if it has to, and holds If-Match against the ETag.
type answer struct {
	w       http.ResponseWriter
	fault   Fault
	read    bool
	ifMatch string

	begun   bool
	refused bool
	sent    int64
}

// Header returns the header of the answer.
func (a *answer) Header() http.Header { return a.w.Header() }

// WriteHeader begins the answer.
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

// Write writes bytes of the body.
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
	if !a.begun {
		a.WriteHeader(http.StatusOK)
	}
}
