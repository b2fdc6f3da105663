package daemon

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/layoutproxy/layoutproxy/importer/drop"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/registry/page"
)

// adminHandler returns the handler of the admin address. page, the web page, handles all paths that
// are not listed here.
func (s *Daemon) adminHandler(page http.Handler, metrics prometheus.Gatherer) http.Handler {
	router := mux.NewRouter()
	read, write := []string{http.MethodGet, http.MethodHead}, []string{http.MethodPost}
	serve(router.Path("/healthz"), read, func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) })
	serve(router.Path("/readyz"), read, s.ready)
	serve(router.Path("/status"), read, func(w http.ResponseWriter, req *http.Request) { answer(w, s.status(req.Context())) })
	serve(router.Path("/metrics"), read, promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}).ServeHTTP)
	serve(router.Path("/rescan"), write, s.rescan)
	serve(router.Path("/reload"), write, s.rescan) // deprecated name of /rescan
	router.NotFoundHandler = page
	if s.flags.Pprof {
		// `go tool pprof` requests these paths. They are off by default: a client chooses how long
		// a profile runs, and a profile reveals what the program is doing.
		serve(router.Path("/debug/pprof/cmdline"), read, pprof.Cmdline)
		serve(router.Path("/debug/pprof/profile"), read, pprof.Profile)
		serve(router.Path("/debug/pprof/symbol"), read, pprof.Symbol)
		serve(router.Path("/debug/pprof/trace"), read, pprof.Trace)
		serve(router.PathPrefix("/debug/pprof/"), read, pprof.Index)
	}
	return router
}

// serve registers answer for requests with one of the methods. It refuses other methods with status
// 405 and an Allow header.
func serve(route *mux.Route, methods []string, answer http.HandlerFunc) {
	route.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if slices.Contains(methods, req.Method) {
			answer(w, req)
			return
		}
		w.Header().Set("Allow", strings.Join(methods, ", "))
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
	})
}

// ready answers 200 if the server can answer all requests: it is not stopping, and it can reach its
// buckets. It need not wait for the first scan, which ends before the server listens.
func (s *Daemon) ready(w http.ResponseWriter, _ *http.Request) {
	if s.draining.Load() {
		http.Error(w, "stopping", http.StatusServiceUnavailable)
		return
	}
	if err := s.reach.Err(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Write([]byte("ready\n"))
}

// Status is the JSON document at /status.
type Status struct {
	Generation   uint64                     `json:"generation"`
	Repositories int                        `json:"repositories"`
	Tags         int                        `json:"tags"`
	Roots        []string                   `json:"roots"`
	Sources      []layoutstore.SourceStatus `json:"sources"`
	Problems     []layoutstore.Problem      `json:"problems"`
	Imports      []drop.Status              `json:"imports"`
	Pushes       []drop.Status              `json:"pushes"`
	Prunes       []PruneStatus              `json:"prunes"`
	// Scrub is nil without --scrub.
	Scrub *page.Scrub `json:"scrub"`
	Disks []page.Disk `json:"disks"`
	// Checked is whether the check of this generation has ended. Before, Problems may be incomplete.
	Checked bool `json:"checked"`
	// Ready is nil until the verdicts on the platform versions are known.
	Ready []versionVerdict `json:"ready"`
	// Refused counts the requests that were refused because of a problem with the requested content.
	Refused int64 `json:"refused"`
}

// checkWait is how long a request for /status waits until a new generation is checked.
const checkWait = 2 * time.Second

func (s *Daemon) status(ctx context.Context) Status {
	snapshot := s.live.tree.Snapshot()
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	// The check gets seven eighths of checkWait. If the storage hangs, the rest of the time is left
	// for reading the known problems.
	checking, stop := context.WithTimeout(ctx, checkWait-checkWait/8)
	defer stop()
	checked := snapshot.Check(checking, runtime.GOMAXPROCS(0)) == nil
	problems := s.live.problems(ctx)
	return Status{
		Generation:   snapshot.Generation(),
		Repositories: snapshot.RepositoryCount(),
		Tags:         snapshot.TagCount(),
		Roots:        append([]string{}, snapshot.Roots()...),
		Sources:      append([]layoutstore.SourceStatus{}, snapshot.Sources()...),
		Problems:     append([]layoutstore.Problem{}, problems...),
		Imports:      s.imports(),
		Pushes:       s.follower.pushes(),
		Prunes:       s.prunes.status(),
		Scrub:        statusOfScrub(s.scrub),
		Disks:        s.disks.status(ctx),
		Checked:      checked,
		Ready:        s.verdicts.of(snapshot, len(problems)),
		Refused:      s.refusals.count.Load(),
	}
}

// rescan handles /rescan. It responds after a complete scan that began after the request.
func (s *Daemon) rescan(w http.ResponseWriter, req *http.Request) {
	change, err := s.live.refresh(req.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	if strings.Contains(req.Header.Get("Accept"), "text/html") { // The button on the web page has sent the request.
		http.Redirect(w, req, "/#there", http.StatusSeeOther)
		return
	}
	answer(w, map[string]uint64{"generation": change.Generation})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // fails only if the client has disconnected
}
