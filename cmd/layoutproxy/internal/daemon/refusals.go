package daemon

import (
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// refusals counts requests for content that is damaged, and logs each digest once.
type refusals struct {
	log   *zap.Logger
	count atomic.Int64

	mu   sync.Mutex
	seen map[string]bool
}

// maxSeen limits how many logged digests are remembered.
const maxSeen = 1000

func newRefusals(log *zap.Logger) *refusals {
	return &refusals{log: log, seen: map[string]bool{}}
}

func (r *refusals) add(repository, reference string, err *layoutstore.ProblemError) {
	r.count.Add(1)
	key := repository + "@" + string(err.Problem.Digest)
	r.mu.Lock()
	known := r.seen[key] || len(r.seen) >= maxSeen
	if !known {
		r.seen[key] = true
	}
	r.mu.Unlock()
	if !known {
		r.log.Warn("refused", zap.String("repository", repository), zap.String("reference", reference), zap.Error(err))
	}
}
