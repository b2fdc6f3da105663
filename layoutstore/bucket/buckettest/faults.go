package buckettest

import (
	"net/http"
)

// Fault describes how the server fails a request. The zero value means no failure.
type Fault struct {
	// If Status is not 0, the server responds with Status and Code without asking the store.
	Status int
	Code   string
	// Drop closes the connection before the store gets the request.
	Drop bool
	// DropAnswer closes the connection after the store has processed the request, without a response.
	DropAnswer bool
	// Cut closes the connection after CutAfter bytes of the response body.
	Cut      bool
	CutAfter int64
	// Pause is called once CutAfter bytes of the body are sent. The response continues when Pause returns.
	Pause func()
	// Then is called before the store gets the request, for example to change an object or to end a context.
	Then func()
	// Done is called when the store has processed the request, or when the server has dropped it.
	Done func()
}

// Unavailable returns a fault that makes the server respond with status 503.
func Unavailable() Fault { return Fault{Status: http.StatusServiceUnavailable, Code: "SlowDown"} }

// Fail sets the function that chooses the fault of each further request. nil means that no request
// fails. The server calls fault for one request at a time.
func (s *Server) Fail(fault func(Request) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// Unreachable makes the server drop every connection until the next call of [Server.Fail].
func (s *Server) Unreachable() { s.Fail(func(Request) Fault { return Fault{Drop: true} }) }

// before applies the faults that take effect before the store gets the request. It reports whether
// it has sent a response.
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

// answer is a ResponseWriter that applies a fault to the store's response. It responds with 412 to
// a GET or HEAD whose If-Match differs from the ETag.
type answer struct {
	w       http.ResponseWriter
	fault   Fault
	read    bool // the request is a GET or a HEAD
	ifMatch string

	begun   bool
	refused bool // the response is 412 because If-Match differs from the ETag
	sent    int64
	paused  bool
}

func (a *answer) Header() http.Header { return a.w.Header() }

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
	if a.fault.Pause != nil && !a.paused && a.sent+int64(len(p)) >= a.fault.CutAfter {
		return a.pause(p)
	}
	a.sent += int64(len(p))
	return a.w.Write(p)
}

// pause sends p, and calls Fault.Pause once CutAfter bytes of the body are sent.
func (a *answer) pause(p []byte) (int, error) {
	a.paused = true
	first := max(0, a.fault.CutAfter-a.sent)
	n, err := a.w.Write(p[:first])
	a.sent += int64(n)
	if err != nil {
		return n, err
	}
	_ = http.NewResponseController(a.w).Flush()
	a.fault.Pause()
	rest, err := a.w.Write(p[first:])
	a.sent += int64(rest)
	return n + rest, err
}

// end completes a response that has no body. If the fault is DropAnswer, it closes the connection instead.
func (a *answer) end() {
	if a.fault.DropAnswer {
		panic(http.ErrAbortHandler)
	}
	a.WriteHeader(http.StatusOK)
}
