package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/layoutproxy/layoutproxy/importer/ready"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/wait"
)

// versionVerdict says whether a version of the platform is ready.
type versionVerdict struct {
	Version string         `json:"version"`
	Ready   bool           `json:"ready"`
	Reasons []ready.Reason `json:"reasons"`
}

// verdicts are those on the versions in a snapshot. They are made when they are asked for
// first, and again when the generation or the number of its problems is another.
type verdicts struct {
	flight wait.Flight[judged]

	mu   sync.Mutex
	last judged
}

// judged is what verdicts are about, and the verdicts.
type judged struct {
	generation uint64
	problems   int
	list       []versionVerdict
}

// maxJudging bounds one judgement, which continues when nobody waits for it any more: the
// next who asks gets what it has found.
const maxJudging = 5 * time.Minute

// of are the verdicts on the versions in a snapshot; nil where they are not known when ctx
// ends.
func (v *verdicts) of(ctx context.Context, s *layoutstore.Snapshot, problems int) []versionVerdict {
	for {
		v.mu.Lock()
		last := v.last
		v.mu.Unlock()
		if last.generation == s.Generation() && last.problems == problems {
			return last.list
		}
		// It may be the flight of another who asked about an older snapshot.
		_, err := v.flight.Do(ctx, func(ctx context.Context) (judged, error) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), maxJudging)
			defer cancel()
			list, err := judge(ctx, s)
			found := judged{s.Generation(), problems, list}
			if err == nil {
				v.mu.Lock()
				defer v.mu.Unlock()
				v.last = found
			}
			return found, err
		})
		if err != nil || ctx.Err() != nil {
			return nil
		}
	}
}

// judge judges all versions in a snapshot.
func judge(ctx context.Context, s *layoutstore.Snapshot) ([]versionVerdict, error) {
	facts, err := ready.Snapshot(ctx, s, ready.Scope{})
	if err != nil {
		return nil, err
	}
	list := []versionVerdict{}
	for _, x := range ready.Judge(facts, ready.Question{}).Versions {
		list = append(list, versionVerdict{x.Version, x.Ready, x.Reasons})
	}
	return list, nil
}
