package main

import (
	"context"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/watch"
)

// live keeps a tree as its sources are: it looks at them when they change, and
// checks what it found.
type live struct {
	log     *zap.Logger
	tree    *layoutstore.Tree
	sources []string
	watcher *watch.Watcher
	changed chan struct{} // of one: there is a generation to check

	mu      sync.Mutex
	failure string // of the watcher, as it was logged last
}

func newLive(log *zap.Logger, tree *layoutstore.Tree, sources []string, rescan time.Duration) *live {
	l := &live{log: log, tree: tree, sources: sources, changed: make(chan struct{}, 1)}
	l.watcher = watch.New(watch.Options{Tick: rescan, Changed: func(ctx context.Context) {
		if _, err := l.refresh(ctx); err != nil && ctx.Err() == nil {
			log.Warn("looking at the sources", zap.Error(err))
		}
	}})
	return l
}

// run watches and checks until ctx ends.
func (l *live) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return l.watcher.Run(ctx) })
	group.Go(func() error {
		if l.watch() {
			// What changed between the first scan and now told nobody.
			if _, err := l.refresh(ctx); err != nil && ctx.Err() == nil {
				l.log.Warn("looking at the sources", zap.Error(err))
			}
		}
		l.check(ctx)
		return nil
	})
	return group.Wait()
}

// refresh looks at the sources and says what changed.
func (l *live) refresh(ctx context.Context) (layoutstore.Change, error) {
	var all layoutstore.Change
	for {
		change, err := l.tree.Refresh(ctx)
		if err != nil {
			return all, err
		}
		all.Generation = change.Generation
		all.Changed = all.Changed || change.Changed
		all.Roots = all.Roots || change.Roots
		// A directory that is watched from now on may have changed since it was
		// looked at.
		if !l.watch() {
			break
		}
	}
	if all.Changed {
		l.tell(all)
	}
	return all, nil
}

// watch has the watcher follow the tree, and says whether it began to watch anything.
func (l *live) watch() bool {
	begun := l.watcher.Watch(l.tree.Snapshot().Directories(), l.sources)
	if err := l.watcher.Failure(); err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.failure != err.Error() {
			l.failure = err.Error()
			l.log.Warn("changes are seen at the next --rescan only", zap.Error(err))
		}
	}
	return begun
}

func (l *live) tell(change layoutstore.Change) {
	s := l.tree.Snapshot()
	l.log.Info("sources changed", zap.Uint64("generation", s.Generation()),
		zap.Int("repositories", s.RepositoryCount()), zap.Int("tags", s.TagCount()))
	if change.Roots {
		l.log.Warn("the root of the tree has changed: repositories have other names now", zap.Strings("roots", s.Roots()))
	}
	select {
	case l.changed <- struct{}{}:
	default: // the check has yet to begin
	}
}

// problems are those of the tree, and of watching it.
func (l *live) problems() []layoutstore.Problem {
	found := l.tree.Snapshot().Problems()
	if err := l.watcher.Failure(); err != nil {
		found = append(found, layoutstore.Problem{Kind: layoutstore.Limited, Path: l.sources[0],
			Reason: err.Error() + ": changes are seen at the next --rescan only; raise fs.inotify.max_user_watches or max_user_instances"})
	}
	return found
}

// check checks each new generation behind the requests, so that what cannot be
// served is known before it is asked for.
func (l *live) check(ctx context.Context) {
	for {
		snapshot := l.tree.Snapshot()
		before := len(snapshot.Problems())
		if err := snapshot.Check(ctx, 1); err != nil && ctx.Err() == nil {
			l.log.Warn("checking the sources", zap.Error(err))
		}
		if found := snapshot.Problems(); ctx.Err() == nil && len(found) > before {
			logProblems(l.log, found)
		}
		debug.FreeOSMemory() // what reading the tree took is not needed to serve it
		select {
		case <-l.changed:
		case <-ctx.Done():
			return
		}
	}
}

// logProblems logs the first few problems; /status has them all.
func logProblems(log *zap.Logger, problems []layoutstore.Problem) {
	const most = 10
	for _, p := range problems[:min(most, len(problems))] {
		log.Warn("cannot be served", zap.String("kind", string(p.Kind)), zap.String("path", p.Path),
			zap.String("repository", p.Repository), zap.String("tag", p.Tag), zap.String("digest", string(p.Digest)), zap.String("reason", p.Reason))
	}
	if more := len(problems) - most; more > 0 {
		log.Warn("more cannot be served: see /status of the admin address, or layoutproxy list", zap.Int("more", more))
	}
}
