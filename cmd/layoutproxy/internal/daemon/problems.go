package daemon

import (
	"context"
	"slices"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/wait"
)

// logProblems logs problems that are new since its last call. It does not wait for a
// storage that hangs.
func (l *liveTree) logProblems(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, l.patience)
	defer cancel()
	found, ok := l.ask(ctx)
	if !ok {
		return // the next call logs them
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	known := map[string]bool{}
	var fresh []layoutstore.Problem
	for _, p := range found {
		line := p.String()
		if !l.told[line] {
			fresh = append(fresh, p)
		}
		known[line] = true
	}
	l.told = known
	logProblems(l.log, fresh)
}

// tellProblem logs one problem that was just found, as logProblems would, and reads no
// others: a scrub of a bad disk finds thousands, one by one.
func (l *liveTree) tellProblem(p layoutstore.Problem) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := p.String()
	if l.told[line] {
		return
	}
	if l.told == nil {
		l.told = map[string]bool{}
	}
	l.told[line] = true
	logProblems(l.log, []layoutstore.Problem{p})
}

// maxAsking limits how many requests for the problems may wait while the storage hangs.
const maxAsking = 4

// ask asks the tree for its problems, and waits as long as ctx lasts. If the storage
// does not answer, ok is false and the problems are the last known ones.
func (l *liveTree) ask(ctx context.Context) (found []layoutstore.Problem, ok bool) {
	if l.asking.Add(1) <= maxAsking {
		s := l.tree.Snapshot()
		found, err := wait.For(ctx, func() ([]layoutstore.Problem, error) {
			defer l.asking.Add(-1)
			return s.Problems(ctx)
		}, nil)
		if err == nil {
			l.known.Store(&found)
			texts := warnings(found)
			l.warned.Store(&texts)
			return found, true
		}
	} else {
		l.asking.Add(-1)
	}
	if known := l.known.Load(); known != nil {
		found = slices.Clone(*known)
	}
	return found, false
}

// problems returns those of the tree and of watching it, as far as they are known when ctx ends.
func (l *liveTree) problems(ctx context.Context) []layoutstore.Problem {
	found, ok := l.ask(ctx)
	if !ok {
		found = append(found, layoutstore.Problem{Kind: layoutstore.Limited, Path: l.paths()[0],
			Reason: "the storage does not answer in time: these are the problems that were known before; look at the disk or the network that it is on"})
	}
	if err := l.watcher.Failure(); err != nil {
		found = append(found, layoutstore.Problem{Kind: layoutstore.Limited, Path: l.paths()[0],
			Reason: err.Error() + ": the sources cannot be watched: changes are found only every --rescan; raise fs.inotify.max_user_watches or max_user_instances"})
	}
	return found
}

// problemsNow returns the problems, for a caller that has no context.
func (l *liveTree) problemsNow() []layoutstore.Problem {
	ctx, cancel := context.WithTimeout(context.Background(), l.patience)
	defer cancel()
	return l.problems(ctx)
}

// logProblems logs the first few problems; /status has them all.
func logProblems(log *zap.Logger, problems []layoutstore.Problem) {
	const most = 10
	for _, p := range problems[:min(most, len(problems))] {
		message := "cannot be served"
		if p.Harmless {
			message = "a problem in the sources that loses nothing"
		}
		log.Warn(message, zap.String("kind", string(p.Kind)), zap.String("path", p.Path),
			zap.String("repository", p.Repository), zap.String("tag", p.Tag()), zap.String("digest", string(p.Digest)), zap.String("reason", p.Reason))
	}
	if more := len(problems) - most; more > 0 {
		log.Warn("more cannot be served: see /status of the admin address, or layoutproxy list", zap.Int("more", more))
	}
}
