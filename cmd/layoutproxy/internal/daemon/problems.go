package daemon

import (
	"context"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/wait"
)

// logNewProblems logs the problems that have appeared since its previous call. If the storage
// hangs, it logs nothing.
func (l *liveTree) logNewProblems(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, l.patience)
	defer cancel()
	found, ok := l.read(ctx)
	if !ok {
		return // The next call will log them.
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	known := map[string]bool{}
	var fresh []layoutstore.Problem
	for _, p := range found {
		line := p.String()
		if !l.logged[line] {
			fresh = append(fresh, p)
		}
		known[line] = true
	}
	l.logged = known
	logProblems(l.log, fresh)
}

// logProblem logs a problem that was just found, unless it is logged already. It does not read the
// list of problems: a scrub of a bad disk finds thousands, one by one.
func (l *liveTree) logProblem(p layoutstore.Problem) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := p.String()
	if l.logged[line] {
		return
	}
	if l.logged == nil {
		l.logged = map[string]bool{}
	}
	l.logged[line] = true
	logProblems(l.log, []layoutstore.Problem{p})
}

// maxReading limits how many goroutines may wait for the list of problems while the storage hangs.
const maxReading = 4

// read returns the problems of the tree. If the storage does not answer before ctx ends, ok is
// false and read returns the problems that were known before.
func (l *liveTree) read(ctx context.Context) (found []layoutstore.Problem, ok bool) {
	if l.reading.Add(1) <= maxReading {
		s := l.tree.Snapshot()
		found, err := wait.For(ctx, func() ([]layoutstore.Problem, error) {
			defer l.reading.Add(-1)
			return s.Problems(ctx)
		}, nil)
		if err == nil {
			l.known.Store(&found)
			texts := warningsOf(found)
			l.warnings.Store(&texts)
			return found, true
		}
	} else {
		l.reading.Add(-1)
	}
	if known := l.known.Load(); known != nil {
		found = slices.Clone(*known)
	}
	return found, false
}

// problems returns the problems of the tree. If the storage does not answer before ctx ends, it returns those
// that were known before, and a problem that says so. It also adds one if the sources cannot be watched.
func (l *liveTree) problems(ctx context.Context) []layoutstore.Problem {
	found, ok := l.read(ctx)
	if !ok {
		found = append(found, layoutstore.Problem{Kind: layoutstore.Limited, Path: l.paths()[0],
			Reason: "the storage does not answer in time, so the list shows the problems that were known before: check the disk, or the network to it"})
	}
	if err := l.watcher.Failure(); err != nil {
		found = append(found, layoutstore.Problem{Kind: layoutstore.Limited, Path: l.paths()[0], Harmless: true, // periodic rescans still find changes
			Reason: err.Error() + ": the sources cannot be watched, so layoutproxy notices changes only at the periodic rescan (--rescan): raise fs.inotify.max_user_watches or fs.inotify.max_user_instances"})
	}
	return found
}

// problemsNow is [liveTree.problems] for callers without a context.
func (l *liveTree) problemsNow() []layoutstore.Problem {
	ctx, cancel := context.WithTimeout(context.Background(), l.patience)
	defer cancel()
	return l.problems(ctx)
}

// logProblems logs the first ten problems, and how many more there are. /status lists all.
func logProblems(log *zap.Logger, problems []layoutstore.Problem) {
	const most = 10
	for _, p := range problems[:min(most, len(problems))] {
		message := "cannot be served"
		if p.Harmless {
			message = "a harmless problem in the sources"
		}
		log.Warn(message, zap.String("kind", string(p.Kind)), zap.String("path", p.Path),
			zap.String("repository", p.Repository), zap.String("tag", p.Tag()), zap.String("digest", string(p.Digest)), zap.String("reason", p.Reason))
	}
	if more := len(problems) - most; more > 0 {
		log.Warn("more problems: see /status on the admin address, or layoutproxy list", zap.Int("more", more))
	}
}

// maxWarnings limits the number of warnings in a response to /v2/.
const maxWarnings = 3

// warningsOf returns the warnings that the registry sends to its clients. Each describes a problem
// that keeps content from being served. After maxWarnings of them, one more text counts the rest.
// Problems with the same text share a warning, and so do all problems of an archive that cannot be
// read.
func warningsOf(problems []layoutstore.Problem) (texts []string) {
	seen, unread := map[string]bool{}, map[string]bool{} // texts of the warnings, and paths of the unreadable archives
	for _, p := range problems {
		if !p.IsFailure() || unread[p.Path] {
			continue
		}
		unread[p.Path] = p.TagsUnknown && p.Entry == ""
		text := p.Summary()
		if seen[text] {
			continue
		}
		seen[text] = true
		if len(seen) <= maxWarnings {
			texts = append(texts, text)
		}
	}
	if more := len(seen) - maxWarnings; more > 0 {
		texts = append(texts, fmt.Sprintf("%d more problems: see /status on the admin address", more))
	}
	return texts
}

// warningsNow returns the warnings for the problems that were read last. It does not read the
// storage.
func (l *liveTree) warningsNow() []string {
	if known := l.warnings.Load(); known != nil {
		return *known
	}
	return nil
}
