package daemon

import (
	"context"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/watch"
)

// liveTree keeps a tree up to date: it rescans the sources when they change, and checks the result.
type liveTree struct {
	log         *zap.Logger
	tree        *layoutstore.Tree
	watcher     *watch.Watcher
	changed     trigger       // there is a generation to check
	checkedUpTo atomic.Uint64 // the generation that was checked last

	patience time.Duration // how long reading the problems may take
	reading  atomic.Int64  // goroutines that read them
	known    atomic.Pointer[[]layoutstore.Problem]
	warnings atomic.Pointer[[]string] // of the registry about known

	mu      sync.Mutex
	sources []string
	served  int             // repositories, when a change was last logged
	failing bool            // whether the watcher had failed when it was last asked
	logged  map[string]bool // lines of the current problems that were logged
}

func newLiveTree(log *zap.Logger, tree *layoutstore.Tree, sources []string, rescan time.Duration) *liveTree {
	l := &liveTree{log: log, tree: tree, sources: sources, changed: make(trigger, 1), patience: checkWait, served: tree.Snapshot().RepositoryCount()}
	l.watcher = watch.New(watch.Options{Tick: rescan, Changed: l.rescan})
	return l
}

// run watches and checks until ctx ends.
func (l *liveTree) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return l.watcher.Run(ctx) })
	group.Go(func() error {
		l.watch()
		// No event reported what changed between the first scan and now.
		l.rescan(ctx)
		l.check(ctx)
		return nil
	})
	return group.Wait()
}

// rescan is refresh for callers that need no result: it logs the error.
func (l *liveTree) rescan(ctx context.Context) {
	change, err := l.refresh(ctx)
	if err != nil && ctx.Err() == nil {
		l.log.Warn("cannot scan the sources", zap.Error(err))
	}
	if !change.Changed { // otherwise the check does it
		giveBack()
	}
}

// refresh scans the sources once and logs what changed.
func (l *liveTree) refresh(ctx context.Context) (layoutstore.Change, error) {
	change, err := l.tree.Refresh(ctx)
	if err == nil {
		l.follow(ctx, change)
	}
	return change, err
}

// reconfigure gives the tree other sources.
func (l *liveTree) reconfigure(ctx context.Context, options layoutstore.Options) error {
	change, err := l.tree.Reconfigure(ctx, options)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.sources = options.Sources
	l.mu.Unlock()
	l.follow(ctx, change)
	return nil
}

// follow watches the directories that a refresh found, and logs what changed.
func (l *liveTree) follow(ctx context.Context, change layoutstore.Change) {
	if l.watch() {
		// A directory may have changed between its scan and the start of the watch.
		l.watcher.Again(rescanAfter)
	} else if change.Again > 0 {
		l.watcher.Again(change.Again)
	}
	if change.Changed {
		l.logChange(ctx, change)
	}
}

// rescanAfter is the delay before newly watched directories are scanned again.
const rescanAfter = 100 * time.Millisecond

// paths returns the sources.
func (l *liveTree) paths() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sources
}

// watch points the watcher at the current directories, and reports whether any of them is new to it.
func (l *liveTree) watch() bool {
	begun := l.watcher.Watch(l.tree.Snapshot().Directories(), l.paths())
	err := l.watcher.Failure()
	l.mu.Lock()
	defer l.mu.Unlock()
	failed := err != nil
	if failed && !l.failing {
		l.log.Warn("the sources cannot be watched: changes are found only every --rescan", zap.Error(err))
	}
	l.failing = failed
	return begun
}

// logChange logs a change of the tree and its new problems, and starts the check.
func (l *liveTree) logChange(ctx context.Context, change layoutstore.Change) {
	s := l.tree.Snapshot()
	l.log.Info("sources changed", zap.Uint64("generation", s.Generation()),
		zap.Int("repositories", s.RepositoryCount()), zap.Int("tags", s.TagCount()))
	l.mu.Lock()
	before := l.served
	l.served = s.RepositoryCount()
	l.mu.Unlock()
	if change.Roots && before > 0 { // otherwise no repository was renamed
		l.log.Warn("the root of the tree has changed: repositories have other names now", zap.Strings("roots", s.Roots()))
	}
	l.logNewProblems(ctx)
	l.changed.set()
}

// trigger is a channel with a buffer of 1 that makes a job run.
type trigger chan struct{}

// set makes the job run once after its present run. It returns at once.
func (t trigger) set() {
	select {
	case t <- struct{}{}:
	default: // a run is already due
	}
}

// check checks each new generation in the background, so that problems are known before
// clients request the content.
func (l *liveTree) check(ctx context.Context) {
	for {
		var again <-chan time.Time
		percent := debug.SetGCPercent(checkGCPercent)
		if err := l.tree.SaveCaches(ctx); err != nil && ctx.Err() == nil {
			l.log.Warn("cannot write archive indexes into the bucket (--s3-write-index): will retry", zap.Error(err))
		}
		s := l.tree.Snapshot()
		if err := s.Check(ctx, 1); err != nil && ctx.Err() == nil {
			l.log.Warn("cannot check the sources: will retry", zap.Error(err))
			again = time.After(checkAgainAfter)
		} else if ctx.Err() == nil {
			l.checkedUpTo.Store(s.Generation())
		}
		l.logNewProblems(ctx)
		giveBack()
		debug.SetGCPercent(percent)
		select {
		case <-l.changed:
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

// checkGCPercent limits the garbage during a check, in percent of the memory in use. It is low
// because lasting objects are allocated among the garbage, and Go never compacts the heap.
const checkGCPercent = 50

// checkAgainAfter is the delay before a failed check is retried. It may have run out of open files.
const checkAgainAfter = 10 * time.Second
