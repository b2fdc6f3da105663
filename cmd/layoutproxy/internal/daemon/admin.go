package daemon

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/layoutproxy/layoutproxy/importer/drop"
	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// admin answers the operator.
type admin struct {
	live     *liveTree
	dropping *dropDirectory
	follows  *follower
	refusals *refusals
	metrics  prometheus.Gatherer
	pprof    bool
	draining atomic.Bool
}

func (a *admin) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", a.ready)
	mux.HandleFunc("GET /status", a.status)
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("POST /rescan", a.rescan)
	mux.HandleFunc("POST /reload", a.rescan) // its old name
	if a.pprof {
		profiles(mux)
	}
	return mux
}

// profiles adds what `go tool pprof` asks for. A profile may run for as long as its
// reader says, and shows what the program works on.
func profiles(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
}

// ready says whether requests are welcome. The first scan is over before anything listens.
func (a *admin) ready(w http.ResponseWriter, _ *http.Request) {
	if a.draining.Load() {
		http.Error(w, "stopping", http.StatusServiceUnavailable)
		return
	}
	w.Write([]byte("ready\n"))
}

// status is the document of /status.
type status struct {
	Generation   uint64                     `json:"generation"`
	Repositories int                        `json:"repositories"`
	Tags         int                        `json:"tags"`
	Roots        []string                   `json:"roots"`
	Sources      []layoutstore.SourceStatus `json:"sources"`
	Problems     []layoutstore.Problem      `json:"problems"`
	Imports      []drop.Status              `json:"imports"`
	Checked      bool                       `json:"checked"` // whether the problems are all that a check finds
	Refused      int64                      `json:"refused"` // requests for content that is not served
}

// checkWait is how long /status waits for the check of a new generation.
const checkWait = 2 * time.Second

func (a *admin) status(w http.ResponseWriter, req *http.Request) {
	s := a.live.tree.Snapshot()
	ctx, cancel := context.WithTimeout(req.Context(), checkWait)
	defer cancel()
	// Where the storage hangs, the rest of the time is for the problems.
	checking, stop := context.WithTimeout(ctx, checkWait-checkWait/8)
	defer stop()
	checked := s.Check(checking, runtime.GOMAXPROCS(0)) == nil
	answer(w, status{
		Generation:   s.Generation(),
		Repositories: s.RepositoryCount(),
		Tags:         s.TagCount(),
		Roots:        append([]string{}, s.Roots()...),
		Sources:      append([]layoutstore.SourceStatus{}, s.Sources()...),
		Problems:     append([]layoutstore.Problem{}, a.live.problems(ctx)...),
		Imports:      append(a.dropping.status(), a.follows.imports()...),
		Checked:      checked,
		Refused:      a.refusals.count.Load(),
	})
}

// rescan answers after a scan that began after the request.
func (a *admin) rescan(w http.ResponseWriter, req *http.Request) {
	change, err := a.live.refresh(req.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	answer(w, map[string]uint64{"generation": change.Generation})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // fails only when the client has gone
}
