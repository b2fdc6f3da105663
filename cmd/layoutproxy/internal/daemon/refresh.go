package daemon

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
	"github.com/layoutproxy/layoutproxy/layoutstore/watch"
)

// liveTree keeps a tree up to date: when the sources change, it rescans and checks them.
type liveTree struct {
	log         *zap.Logger
	tree        *layoutstore.Tree
	watcher     *watch.Watcher
	changed     trigger       // Set when a new generation has to be checked.
	onChange    func()        // Called after each change of the tree. It must not wait.
	checkedUpTo atomic.Uint64 // Number of the generation that was checked last.

	watching sync.Mutex    // Held while the watched directories change.
	patience time.Duration // How long a caller waits for the problems.
	reading  atomic.Int64  // Number of goroutines that are reading the problems.

	// known are the problems that were read last. warnings are the texts that clients get about them.
	known    atomic.Pointer[[]layoutstore.Problem]
	warnings atomic.Pointer[[]string]

	mu      sync.Mutex
	sources []string
	// followed and roots are the generation and the roots of the snapshot that was followed last.
	followed uint64
	roots    []string
	// served is the number of repositories after the last change.
	served int
	// failing is whether the sources could not be watched at the last attempt.
	failing bool
	// logged contains the current problems that are logged already, as text.
	logged map[string]bool
}

func newLiveTree(log *zap.Logger, tree *layoutstore.Tree, sources []string, rescan time.Duration) *liveTree {
	s := tree.Snapshot()
	l := &liveTree{log: log, tree: tree, sources: sources, changed: make(trigger, 1), onChange: func() {}, patience: checkWait,
		followed: s.Generation(), roots: s.Roots(), served: s.RepositoryCount()}
	l.watcher = watch.New(watch.Options{Tick: rescan, Changed: l.rescan})
	return l
}

func (l *liveTree) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return l.watcher.Run(ctx) })
	group.Go(func() error {
		l.watch()
		// Scan again: changes between the first scan and the start of the watch caused no event.
		l.rescan(ctx)
		l.check(ctx)
		return nil
	})
	return group.Wait()
}

// rescan calls refresh, and logs its error.
func (l *liveTree) rescan(ctx context.Context) {
	change, err := l.refresh(ctx)
	if err != nil && ctx.Err() == nil {
		l.log.Warn("cannot scan the sources", zap.Error(err))
	}
	// After a change, check runs, and frees memory at its end.
	if !change.Changed {
		giveBack()
	}
}

// refresh scans the sources once, and logs what has changed.
func (l *liveTree) refresh(ctx context.Context) (layoutstore.Change, error) {
	change, err := l.tree.Refresh(ctx)
	if err == nil {
		l.follow(ctx, change)
	} else {
		l.scanAgain(ctx, change, err)
	}
	return change, err
}

// scanAgain requests another scan if it is needed after a scan that nobody has followed.
func (l *liveTree) scanAgain(ctx context.Context, change layoutstore.Change, err error) {
	l.mu.Lock()
	behind := l.followed != l.tree.Snapshot().Generation()
	l.mu.Unlock()
	switch {
	case err != nil && ctx.Err() == nil: // for example, too many files are open
		l.watcher.Again(checkAgainAfter)
	case err != nil, behind: // after an error, the scan continues without this caller, and may change the tree
		l.watcher.Again(rescanAfter)
	case change.Again > 0:
		l.watcher.Again(change.Again)
	}
}

// Snapshot returns the current snapshot of the tree.
func (l *liveTree) Snapshot() *layoutstore.Snapshot { return l.tree.Snapshot() }

// Refresh scans the sources for a request of the registry. It leaves it to the next scan to follow a
// change, because the request waits.
func (l *liveTree) Refresh(ctx context.Context) (layoutstore.Change, error) {
	change, err := l.tree.Refresh(ctx)
	l.scanAgain(ctx, change, err)
	return change, err
}

// reconfigure replaces the sources and the other options of the tree.
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

// follow watches the directories that a scan has found, and logs what has changed. The change may be
// of an earlier scan, which nobody has followed.
func (l *liveTree) follow(ctx context.Context, change layoutstore.Change) {
	if l.watch() {
		// A directory may have changed after its scan, but before the watch began.
		l.watcher.Again(rescanAfter)
	} else if change.Again > 0 {
		l.watcher.Again(change.Again)
	}
	l.mu.Lock()
	s := l.tree.Snapshot()
	changed, roots := l.followed != s.Generation(), !slices.Equal(l.roots, s.Roots())
	l.followed, l.roots = s.Generation(), s.Roots()
	before := l.served
	l.served = s.RepositoryCount()
	l.mu.Unlock()
	if changed {
		// If nothing was served before, no repository has changed its name.
		l.logChange(ctx, s, roots && before > 0)
	}
}

// rescanAfter is how long after the start of its watch a directory is scanned again.
const rescanAfter = 100 * time.Millisecond

func (l *liveTree) paths() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sources
}

// watch makes the watcher watch the current directories of the tree. It reports whether any
// directory was not watched before.
func (l *liveTree) watch() bool {
	l.watching.Lock() // otherwise, a slow caller could watch the directories of an older snapshot
	defer l.watching.Unlock()
	begun := l.watcher.Watch(l.tree.Snapshot().Directories(), l.paths())
	err := l.watcher.Failure()
	l.mu.Lock()
	defer l.mu.Unlock()
	failed := err != nil
	if failed && !l.failing {
		l.log.Warn("the sources cannot be watched: layoutproxy notices changes only at the periodic rescan (--rescan)", zap.Error(err))
	}
	l.failing = failed
	return begun
}

// logChange logs that the tree has changed, logs new problems, and starts the check of the new
// generation.
func (l *liveTree) logChange(ctx context.Context, s *layoutstore.Snapshot, renamed bool) {
	l.log.Info("sources changed", zap.Uint64("generation", s.Generation()),
		zap.Int("repositories", s.RepositoryCount()), zap.Int("tags", s.TagCount()))
	if renamed {
		l.log.Warn("the root of the tree has changed, so repositories have other names now", zap.Strings("roots", s.Roots()))
	}
	l.logNewProblems(ctx)
	l.changed.set()
	l.onChange()
}

// trigger is a channel with a buffer of 1. Setting it makes a job run.
type trigger chan struct{}

// set makes the job run once more after its current run. It does not wait for the job.
func (t trigger) set() {
	select {
	case t <- struct{}{}:
	default: // another run is already requested
	}
}

// check checks each new generation in the background. Problems are then usually known before
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

// checkGCPercent is the garbage that Go allows during a check, in percent of the memory in use. It
// is low because Go never compacts the heap: lasting objects would be spread among the garbage.
const checkGCPercent = 50

// checkAgainAfter is the delay before a failed check is retried. For example, the process may have
// had too many open files.
const checkAgainAfter = 10 * time.Second
