package main

import (
	"context"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/wait"
	"github.com/layoutproxy/layoutproxy/layoutstore/watch"
)

// live keeps a tree as its sources are: it looks at them when they change, and
// checks what it found.
type live struct {
	log     *zap.Logger
	tree    *layoutstore.Tree
	watcher *watch.Watcher
	changed chan struct{} // of one: there is a generation to check

	patience time.Duration // how long the problems are waited for
	asking   atomic.Int64  // goroutines that do
	known    atomic.Pointer[[]layoutstore.Problem]

	mu      sync.Mutex
	sources []string
	failing bool            // the watcher, when it was asked last
	told    map[string]bool // problems that were logged and are there still
}

func newLive(log *zap.Logger, tree *layoutstore.Tree, sources []string, rescan time.Duration) *live {
	l := &live{log: log, tree: tree, sources: sources, changed: make(chan struct{}, 1), patience: checkWait}
	l.watcher = watch.New(watch.Options{Tick: rescan, Changed: l.look})
	return l
}

// run watches and checks until ctx ends.
func (l *live) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return l.watcher.Run(ctx) })
	group.Go(func() error {
		l.watch()
		// What changed between the first scan and now told nobody.
		l.look(ctx)
		l.check(ctx)
		return nil
	})
	return group.Wait()
}

// look is a refresh that nobody waits for.
func (l *live) look(ctx context.Context) {
	if _, err := l.refresh(ctx); err != nil && ctx.Err() == nil {
		l.log.Warn("looking at the sources", zap.Error(err))
	}
}

// refresh looks at the sources once and says what changed.
func (l *live) refresh(ctx context.Context) (layoutstore.Change, error) {
	change, err := l.tree.Refresh(ctx)
	if err == nil {
		l.follow(change)
	}
	return change, err
}

// reconfigure has the tree be of other sources.
func (l *live) reconfigure(ctx context.Context, options layoutstore.Options) error {
	change, err := l.tree.Reconfigure(ctx, options)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.sources = options.Sources
	l.mu.Unlock()
	l.follow(change)
	return nil
}

// follow watches what a refresh found, and says what changed.
func (l *live) follow(change layoutstore.Change) {
	if l.watch() {
		// A directory that is watched from now on may have changed since it was
		// looked at.
		l.watcher.Again(lookAgainAfter)
	} else if change.Again > 0 {
		l.watcher.Again(change.Again)
	}
	if change.Changed {
		l.tell(change)
	}
}

// lookAgainAfter is when to look again at directories that were not watched before.
const lookAgainAfter = 100 * time.Millisecond

// paths are the sources.
func (l *live) paths() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sources
}

// watch has the watcher follow the tree, and says whether it began to watch anything.
func (l *live) watch() bool {
	begun := l.watcher.Watch(l.tree.Snapshot().Directories(), l.paths())
	err := l.watcher.Failure()
	l.mu.Lock()
	defer l.mu.Unlock()
	failed := err != nil
	if failed && !l.failing {
		l.log.Warn("changes are seen at the next --rescan only", zap.Error(err))
	}
	l.failing = failed
	return begun
}

func (l *live) tell(change layoutstore.Change) {
	s := l.tree.Snapshot()
	l.log.Info("sources changed", zap.Uint64("generation", s.Generation()),
		zap.Int("repositories", s.RepositoryCount()), zap.Int("tags", s.TagCount()))
	if change.Roots {
		l.log.Warn("the root of the tree has changed: repositories have other names now", zap.Strings("roots", s.Roots()))
	}
	l.tellProblems(context.Background())
	select {
	case l.changed <- struct{}{}:
	default: // the check has yet to begin
	}
}

// tellProblems logs the problems that were not there when it was called last. It does not
// wait for a storage that hangs.
func (l *live) tellProblems(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, l.patience)
	defer cancel()
	found, ok := l.ask(ctx)
	if !ok {
		return // at the next call
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

// tellProblem logs one problem that has just been found, as tellProblems would. It looks
// at no other: a scrub of a bad disk finds thousands, one by one.
func (l *live) tellProblem(p layoutstore.Problem) {
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

// maxAsking is how often the problems may be asked for while the storage hangs.
const maxAsking = 4

// ask asks the tree for its problems, and waits as long as ctx lasts. Where the storage
// does not answer, ok is false and the problems are those that were known last.
func (l *live) ask(ctx context.Context) (found []layoutstore.Problem, ok bool) {
	if l.asking.Add(1) <= maxAsking {
		s := l.tree.Snapshot()
		found, err := wait.For(ctx, func() ([]layoutstore.Problem, error) {
			defer l.asking.Add(-1)
			return s.Problems(), nil
		}, nil)
		if err == nil {
			l.known.Store(&found)
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

// problems are those of the tree and of watching it, as far as they are known when ctx ends.
func (l *live) problems(ctx context.Context) []layoutstore.Problem {
	found, ok := l.ask(ctx)
	if !ok {
		found = append(found, layoutstore.Problem{Kind: layoutstore.Limited, Path: l.paths()[0],
			Reason: "the storage does not answer in time: these are the problems that were known before; look at the disk or the network that it is on"})
	}
	if err := l.watcher.Failure(); err != nil {
		found = append(found, layoutstore.Problem{Kind: layoutstore.Limited, Path: l.paths()[0],
			Reason: err.Error() + ": changes are seen at the next --rescan only; raise fs.inotify.max_user_watches or max_user_instances"})
	}
	return found
}

// problemsNow are the problems, for who has no context.
func (l *live) problemsNow() []layoutstore.Problem {
	ctx, cancel := context.WithTimeout(context.Background(), l.patience)
	defer cancel()
	return l.problems(ctx)
}

// check checks each new generation behind the requests, so that what cannot be
// served is known before it is asked for.
func (l *live) check(ctx context.Context) {
	for {
		var again <-chan time.Time
		l.tree.Keep(ctx)
		if err := l.tree.Snapshot().Check(ctx, 1); err != nil && ctx.Err() == nil {
			l.log.Warn("checking the sources: it will be tried again", zap.Error(err))
			again = time.After(checkAgainAfter)
		}
		l.tellProblems(ctx)
		debug.FreeOSMemory() // what reading the tree took is not needed to serve it
		select {
		case <-l.changed:
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

// checkAgainAfter is when to try again what the system had no files or memory for.
const checkAgainAfter = 10 * time.Second

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
