package daemon

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/pruning"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/importer/prune"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// PruneStatus is the outcome of one prune, for /status.
type PruneStatus struct {
	Time time.Time `json:"time"`
	// State is "pruned", or "nothing" if there was nothing to prune. It is "removed" if the grace
	// period of an earlier prune has ended, and the images that it had untagged were removed. It is
	// "waiting" while an import runs, and "failed" after an error.
	State string `json:"state"`
	// Generation is the generation of the store after the prune.
	Generation uint64 `json:"generation"`
	Tags       int    `json:"tags"`
	Manifests  int    `json:"manifests"`
	Blobs      int    `json:"blobs"`
	// Bytes is how much disk space the prune frees, after the grace period.
	Bytes  int64  `json:"bytes"`
	Detail string `json:"detail"`
}

// maxPrunes is how many prunes /status lists.
const maxPrunes = 10

// pruner prunes the store of a server once per day, if --prune-policy is set. When the grace period of any
// prune ends, it removes the images that the prune has untagged. It is nil without a store in a directory.
type pruner struct {
	log       *zap.Logger
	options   prune.Options
	policy    string // path of the policy file; empty if the daily prune is off
	at        settings.Daily
	published func(context.Context)

	// idle is the generation in which the last sweep found nothing to remove. Until the given time, no sweep of
	// this generation finds anything.
	idle struct {
		generation uint64
		until      time.Time
	}

	mu      sync.Mutex
	last    []PruneStatus // oldest first
	results map[string]int
	bytes   int64
}

// newPruner returns the pruner of a server's store. It returns nil if the server has no store, or
// if the store is in a bucket.
func newPruner(log *zap.Logger, flags *settings.Serve, metrics prometheus.Registerer, published func(context.Context)) (*pruner, error) {
	if flags.Store.Dir == "" || bucket.IsPlace(flags.Store.Dir) {
		return nil, nil
	}
	log = log.Named("prune")
	p := &pruner{log: log, policy: flags.Store.PrunePolicy, published: published, results: map[string]int{"pruned": 0, "nothing": 0, "removed": 0, "failed": 0},
		options: prune.Options{Store: flags.Store.Dir, CacheDir: flags.CacheDir, QuarantineDir: flags.QuarantineDir()}}
	if p.policy != "" {
		var err error
		if p.at, err = settings.ParseDaily(flags.Store.PruneAt); err == nil {
			_, err = pruning.ReadPolicy(p.policy)
		}
		if err != nil {
			return nil, err
		}
	}
	return p, metrics.Register(p)
}

const (
	// sweepEvery is how often the pruner looks for images that another process has untagged.
	sweepEvery = time.Minute
	// pruneAgain is the delay before a retry, while an import runs or after a failure.
	pruneAgain = time.Minute
	// giveUpAfter is how long the pruner retries. Then it waits for the next day.
	giveUpAfter = time.Hour
)

func (p *pruner) run(ctx context.Context) error {
	if p == nil {
		return nil
	}
	// due is when the daily prune is attempted next. since is when that prune was first attempted.
	var due, since time.Time
	if p.policy != "" {
		due = p.at.Next(time.Now())
	}
	for {
		wait := sweepEvery
		if !due.IsZero() && !time.Now().Before(due) {
			if since.IsZero() {
				since = due
			}
			done := p.daily(ctx)
			if !done && time.Since(since) >= giveUpAfter {
				p.giveUp()
				done = true
			}
			if done {
				due, since = p.at.Next(time.Now()), time.Time{}
			} else {
				due = time.Now().Add(pruneAgain)
			}
		}
		wait = min(wait, p.sweep(ctx))
		if !due.IsZero() {
			wait = min(wait, max(0, time.Until(due)))
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// daily reads the policy file, and prunes the store with its rules. It returns false if the prune
// has to be retried.
func (p *pruner) daily(ctx context.Context) (done bool) {
	request, err := pruning.ReadPolicy(p.policy)
	var plan prune.Plan
	if err == nil {
		var by *prune.Pruner
		if by, err = pruning.New(p.options); err == nil {
			plan, err = by.Run(ctx, request)
		}
	}
	state := "pruned"
	switch {
	case ctx.Err() != nil:
		return true
	case err != nil:
		p.failed(err)
		return false
	case plan.IsEmpty():
		state = "nothing"
	default:
		p.published(ctx)
	}
	p.record(state, plan, "")
	return true
}

// sweep removes images whose grace period has ended. It returns how long to wait before the next
// sweep. If such an image is needed again, sweep does not scan the store again before the store
// changes or an hour has passed.
func (p *pruner) sweep(ctx context.Context) time.Duration {
	before, stateErr := journal.ReadState(p.options.Store)
	if stateErr == nil && before.Generation == p.idle.generation && time.Now().Before(p.idle.until) {
		return max(time.Second, time.Until(p.idle.until))
	}
	by, err := prune.New(p.options)
	var plan prune.Plan
	var next time.Time
	if err == nil {
		plan, next, err = by.Sweep(ctx)
	}
	switch {
	case ctx.Err() != nil, errors.Is(err, prune.ErrLocked):
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS), errors.Is(err, journal.ErrNotStore):
		p.log.Debug("cannot remove images after their grace period", zap.Error(err)) // The user who owns the store has to prune it.
	case err != nil:
		p.failed(err)
	case !plan.IsEmpty():
		p.published(ctx)
		p.record("removed", plan, "")
	case stateErr == nil:
		p.idle.generation, p.idle.until = before.Generation, time.Now().Add(giveUpAfter)
		if !next.IsZero() && next.Before(p.idle.until) {
			p.idle.until = next
		}
	}
	if err != nil || next.IsZero() {
		return sweepEvery
	}
	return max(time.Second, time.Until(next))
}

// failed logs and records the error of a prune. If the reason is a running import, it records
// "waiting" instead.
func (p *pruner) failed(err error) {
	if errors.Is(err, prune.ErrLocked) {
		p.record("waiting", prune.Plan{}, "an import is running")
		return
	}
	detail := exit.OneLine(exit.PruneError(err))
	p.log.Warn("the store cannot be pruned", zap.String("error", detail))
	p.record("failed", prune.Plan{}, detail)
}

// giveUp records that the daily prune does not wait any longer for the end of an import.
func (p *pruner) giveUp() {
	p.mu.Lock()
	n := len(p.last)
	waiting := n > 0 && p.last[n-1].State == "waiting"
	p.mu.Unlock()
	if !waiting {
		return // the last error is already recorded
	}
	detail := "an import is still running after an hour: this daily prune is skipped"
	p.log.Warn("the store cannot be pruned", zap.String("error", detail))
	p.record("failed", prune.Plan{}, detail)
}

// record records the outcome of a prune for /status. It replaces the last outcome if that one is
// "waiting", or if both are "failed".
func (p *pruner) record(state string, plan prune.Plan, detail string) {
	s := PruneStatus{Time: time.Now().UTC().Truncate(time.Second), State: state, Tags: plan.Remove.Tags, Manifests: len(plan.Remove.Manifests), Blobs: len(plan.Remove.Blobs), Bytes: plan.Remove.Bytes, Detail: detail}
	if now, err := journal.ReadState(p.options.Store); err == nil {
		s.Generation = now.Generation
	}
	if state != "failed" {
		p.log.Info("prune of the store ended", zap.String("state", state), zap.Uint64("generation", s.Generation), zap.Int("tags", s.Tags), zap.Int("manifests", s.Manifests), zap.Int("blobs", s.Blobs), zap.Int64("bytes", s.Bytes))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.last); n > 0 && (p.last[n-1].State == "waiting" || p.last[n-1].State == "failed" && state == "failed") {
		p.last = p.last[:n-1]
	}
	p.last = append(p.last, s)
	p.last = p.last[max(0, len(p.last)-maxPrunes):]
	if state != "waiting" {
		p.results[state]++
	}
	// With a grace period, a prune frees nothing yet. Its bytes count when they are removed.
	if state == "removed" || state == "pruned" && plan.Grace == "0s" {
		p.bytes += plan.Remove.Bytes
	}
}

func (p *pruner) status() []PruneStatus {
	if p == nil {
		return []PruneStatus{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]PruneStatus{}, p.last...)
}

var (
	prunesDesc      = prometheus.NewDesc("layoutproxy_prunes_total", "Prunes of the store, by result.", []string{"result"}, nil)
	prunedBytesDesc = prometheus.NewDesc("layoutproxy_pruned_bytes_total", "Disk space that prunes of the store have freed, in bytes.", nil, nil)
)

func (p *pruner) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(p, ch) }

func (p *pruner) Collect(ch chan<- prometheus.Metric) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for result, n := range p.results {
		ch <- prometheus.MustNewConstMetric(prunesDesc, prometheus.CounterValue, float64(n), result)
	}
	ch <- prometheus.MustNewConstMetric(prunedBytesDesc, prometheus.CounterValue, float64(p.bytes))
}
