package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/distribution/reference"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// page is the requested part of a list. It has only entries that follow `last` in byte order, and
// at most n of them. A negative n means no limit.
type page struct {
	n    int
	last string
}

var completeList = page{n: -1}

// parsePage reads the parameters `n` and `last` (distribution specification 1.1, "Listing Tags").
// Without n, the page has no limit. A negative or malformed n is an error.
func parsePage(req *http.Request) (page, error) {
	if req.URL.RawQuery == "" {
		return completeList, nil
	}
	q := req.URL.Query()
	p := page{-1, q.Get("last")}
	if s := q.Get("n"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || strings.Trim(s, "0123456789") != "" {
			return page{}, fmt.Errorf("%.100q: %w", s, errNumber)
		}
		p.n = n
	}
	return p, nil
}

func (r *registry) tags(w http.ResponseWriter, req *http.Request, s *layoutstore.Snapshot, name string) error {
	var p page
	repo, err := repository(s, name, func() (err error) {
		p, err = parsePage(req)
		return err
	})
	if err != nil {
		return err
	}
	list := func() (*list, error) {
		tags, more := repo.Tags(p.last, p.n)
		l, err := newList(struct {
			Name string   `json:"name"`
			Tags []string `json:"tags"`
		}{name, tags})
		if err == nil && more && p.n > 0 {
			l.next, err = r.nextTags(name, p.n, tags[len(tags)-1])
		}
		return l, err
	}
	return r.serveList(w, req, s, name, p, list)
}

func (r *registry) catalog(w http.ResponseWriter, req *http.Request, s *layoutstore.Snapshot) error {
	p, err := parsePage(req)
	if err != nil {
		return err
	}
	list := func() (*list, error) {
		names, more := s.Repositories(p.last, p.n)
		l, err := newList(struct {
			Repositories []string `json:"repositories"`
		}{append([]string{}, names...)})
		if err == nil && more && p.n > 0 {
			l.next, err = r.urls.BuildCatalogURL(nextPage(p.n, names[len(names)-1]))
		}
		return l, err
	}
	return r.serveList(w, req, s, "", p, list)
}

func nextPage(n int, last string) url.Values {
	return url.Values{"n": {strconv.Itoa(n)}, "last": {last}}
}

func (r *registry) nextTags(name string, n int, last string) (string, error) {
	named, err := reference.WithName(name)
	if err != nil {
		return "", err
	}
	return r.urls.BuildTagsURL(named, nextPage(n, last))
}

// list is a page of a list, ready to be sent.
type list struct {
	body []byte
	// etag is a header value with one strong ETag.
	etag []string
	size []string
	// next is the path and query of the next page. It is empty on the last page.
	next string
}

func newList(v any) (*list, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	return &list{body: body, etag: []string{`"` + hex.EncodeToString(sum[:]) + `"`}, size: []string{strconv.Itoa(len(body))}}, nil
}

// lists caches the complete lists of one snapshot.
type lists struct {
	current atomic.Pointer[snapshotLists]
}

type snapshotLists struct {
	snapshot *layoutstore.Snapshot
	byName   sync.Map // maps a repository, or "" for the catalog, to *list
}

func (l *lists) get(s *layoutstore.Snapshot) *snapshotLists {
	cached := l.current.Load()
	if cached == nil || cached.snapshot != s {
		cached = &snapshotLists{snapshot: s}
		l.current.Store(cached)
	}
	return cached
}

var contentJSON = []string{"application/json"}

// serveList answers with page p of the named list. If the page is not cached, it calls build.
func (r *registry) serveList(w http.ResponseWriter, req *http.Request, s *layoutstore.Snapshot, name string, p page, build func() (*list, error)) error {
	var l *list
	cached := r.lists.get(s)
	if v, ok := cached.byName.Load(name); ok && p == completeList {
		l = v.(*list)
	} else {
		var err error
		if l, err = build(); err != nil {
			return err
		}
		if p == completeList {
			cached.byName.Store(name, l)
		}
	}
	if l.next != "" {
		prefix, _, _ := cut(req.URL.Path)
		w.Header().Set("Link", fmt.Sprintf(`<%s%s>; rel="next"`, linkPrefix(prefix), l.next))
	}
	return l.send(w, req, contentJSON)
}

// linkPrefix returns the prefix of a request's path for use in a Link header. It never begins
// with two slashes, because a client would take the segment after them for a host.
func linkPrefix(prefix string) string {
	if trimmed := strings.TrimLeft(prefix, "/"); trimmed != "" {
		return (&url.URL{Path: "/" + trimmed}).EscapedPath()
	}
	return ""
}

func (l *list) send(w http.ResponseWriter, req *http.Request, contentType []string) error {
	h := w.Header()
	h["Content-Type"] = contentType
	h["Cache-Control"] = noCache
	h["Etag"] = l.etag
	if isConditional(req.Header) {
		return serveContent(w, req, bytes.NewReader(l.body), int64(len(l.body)))
	}
	h["Content-Length"] = l.size
	if req.Method == http.MethodHead {
		return nil
	}
	_, err := w.Write(l.body)
	return asSendError(err)
}
