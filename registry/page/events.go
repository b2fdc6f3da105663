package page

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

const (
	// maxStreams is how many pages are followed at once.
	maxStreams = 64
	// eventEvery is the least time between two events of a page.
	eventEvery = time.Second
	// eventPatience is how long a browser may take to accept an event.
	eventPatience = 10 * time.Second
)

// events follows the server for one open page. The query says which parts it has, and in which
// state: ?have=pill:HASH,right:HASH. Whatever differs is sent, as an object of HTML by name.
func (p *Page) events(w http.ResponseWriter, req *http.Request) {
	if p.streams.Add(1) > maxStreams {
		p.streams.Add(-1)
		w.Header().Set("Retry-After", "60")
		http.Error(w, "too many pages are open: reload this one to see the present state", http.StatusServiceUnavailable)
		return
	}
	defer p.streams.Add(-1)
	have := map[string]string{}
	for _, one := range strings.Split(req.URL.Query().Get("have"), ",") {
		if name, hash, ok := strings.Cut(one, ":"); ok {
			have[name] = hash
		}
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	if req.Method == http.MethodHead {
		return
	}
	out := http.NewResponseController(w)
	ticker := time.NewTicker(eventEvery)
	defer ticker.Stop()
	for event := []byte(": follows the server\n\n"); ; event = p.event(req, have) {
		if event != nil {
			_ = out.SetWriteDeadline(time.Now().Add(eventPatience)) // a test's writer has none
			if _, err := w.Write(event); err != nil || out.Flush() != nil {
				return
			}
		}
		select {
		case <-ticker.C:
		case <-req.Context().Done():
			return
		case <-p.closed:
			return
		}
	}
}

// event is what changed since the page got what it has, or nil. It notes what is sent.
func (p *Page) event(req *http.Request, have map[string]string) []byte {
	changed := map[string]section{}
	for name, s := range p.state(req.Context()).sections {
		if hash, ok := have[name]; ok && hash != s.Hash {
			changed[name], have[name] = s, s.Hash
		}
	}
	if len(changed) == 0 {
		return nil
	}
	var b bytes.Buffer
	b.WriteString("data: ")
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(changed) != nil { // ends with a newline, and has no other
		return nil
	}
	b.WriteString("\n")
	return b.Bytes()
}
