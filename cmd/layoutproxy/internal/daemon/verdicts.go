package daemon

import (
	"context"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/importer/ready"
	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// versionVerdict is whether a platform version is ready, and the reasons if it is not.
type versionVerdict struct {
	Version string         `json:"version"`
	Ready   bool           `json:"ready"`
	Reasons []ready.Reason `json:"reasons"`
}

// verdicts judges in the background whether the platform versions in the current snapshot are
// ready. It does so when the verdicts are first requested, and again when the number of problems
// has changed. Requests do not wait for the verdicts. A server that is never asked for verdicts
// saves memory: judging a large tree needs several times as much as serving it.
type verdicts struct {
	log     *zap.Logger
	tree    *layoutstore.Tree
	changed trigger // set when the versions may have to be judged
	last    atomic.Pointer[judged]
}

// judged is a list of verdicts, and the generation and number of problems that they are based on.
type judged struct {
	generation uint64
	problems   int
	list       []versionVerdict
}

func newVerdicts(log *zap.Logger, tree *layoutstore.Tree) *verdicts {
	return &verdicts{log: log, tree: tree, changed: make(trigger, 1)}
}

// of returns the verdicts on the versions in a snapshot, or nil before they are known. problems is
// the current number of problems in the snapshot. If it has changed since the last verdicts, the
// versions are judged again.
func (v *verdicts) of(s *layoutstore.Snapshot, problems int) []versionVerdict {
	last := v.last.Load()
	if last == nil || last.generation != s.Generation() {
		v.changed.set()
		return nil
	}
	if last.problems != problems {
		v.changed.set()
	}
	return last.list
}

// maxJudging is how long judging all versions may take.
const maxJudging = 5 * time.Minute

// run judges the versions each time v.changed is set, until ctx ends.
func (v *verdicts) run(ctx context.Context) error {
	var again <-chan time.Time
	for {
		select {
		case <-v.changed:
		case <-again:
		case <-ctx.Done():
			return nil
		}
		again = nil
		if err := v.judge(ctx); err != nil && ctx.Err() == nil {
			v.log.Warn("cannot judge which versions are ready: will retry", zap.Error(err))
			again = time.After(checkAgainAfter)
		}
	}
}

// judge judges all versions in the current snapshot, unless they are judged already.
func (v *verdicts) judge(ctx context.Context) error {
	s := v.tree.Snapshot()
	found, err := s.Problems(ctx)
	if err != nil {
		return err
	}
	problems := len(found)
	if last := v.last.Load(); last != nil && last.generation == s.Generation() && last.problems == problems {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, maxJudging)
	defer cancel()
	defer giveBack()
	list, err := judgeVersions(ctx, s)
	if err != nil {
		return err
	}
	v.last.Store(&judged{s.Generation(), problems, list})
	return nil
}

// judgeVersions returns the verdicts on all platform versions in a snapshot. Without platform
// versions, it skips the modules, because reading thousands of modules takes time.
func judgeVersions(ctx context.Context, s *layoutstore.Snapshot) ([]versionVerdict, error) {
	list := []versionVerdict{}
	here, _, err := ready.Versions(ctx, s)
	if err != nil || len(here) == 0 {
		return list, err
	}
	facts, err := ready.Snapshot(ctx, s, ready.Scope{})
	if err != nil {
		return nil, err
	}
	for _, x := range ready.Judge(facts, ready.Question{}).Versions {
		list = append(list, versionVerdict{x.Version, x.Ready, x.Reasons})
	}
	return list, nil
}
