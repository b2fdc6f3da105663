package page

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

const (
	// maxStreams limits how many open pages may receive events at the same time.
	maxStreams = 64
	// eventEvery is the shortest time between two events for one page.
	eventEvery = time.Second
	// eventPatience limits how long sending an event may block.
	eventPatience = 10 * time.Second
)

// events sends updates to one open page. The query lists the sections of the page with the hashes
// of their HTML: ?have=pill:HASH,right:HASH. Each event is a JSON object that contains the
// changed sections by their names.
func (p *Page) events(w http.ResponseWriter, req *http.Request) {
	if p.streams.Add(1) > maxStreams {
		p.streams.Add(-1)
		w.Header().Set("Retry-After", "60")
		http.Error(w, "too many pages are open: reload this page to see the current state", http.StatusServiceUnavailable)
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
			_ = out.SetWriteDeadline(time.Now().Add(eventPatience)) // this fails only in tests
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

// event returns an event with the sections that differ from have, and updates have. If no section
// differs, it returns nil.
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
	if encoder.Encode(changed) != nil { // the only newline of the JSON is at its end
		return nil
	}
	b.WriteString("\n")
	return b.Bytes()
}
