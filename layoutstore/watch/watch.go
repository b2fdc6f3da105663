// Package watch signals changes below a set of directories.
//
// A [Watcher] gives one signal for any number of changes within a short time. It also gives one at
// every tick, for file systems without events (NFS) and for directories that could not be watched.
// It does not say what changed: the receiver scans.
//
// Make one with [New], set the watched directories and paths with [Watcher.Watch] after each
// scan, and run it with [Watcher.Run].
package watch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Options of a Watcher.
type Options struct {
	// Tick is the time between signals without any event; 0 means never.
	Tick time.Duration
	// Changed is called for each signal, and scans for changes. The next signal waits until
	// it returns.
	Changed func(context.Context)
}

// Changes that are less than quiet apart are one signal, but no change waits longer than latest.
const (
	quiet  = 100 * time.Millisecond
	latest = time.Second
)

// Watcher watches directories.
type Watcher struct {
	options Options
	again   chan time.Time // capacity 1: when the earliest requested signal is due

	// changing is held while directories are added, which may hang with their disk. mu is not
	// held meanwhile, so that no other call waits for that disk.
	changing sync.Mutex
	watched  map[string]fs.FileInfo // the directories, as they were when the watch began

	mu      sync.Mutex
	fs      *fsnotify.Watcher // nil while the system refuses to create one
	all     map[string]bool   // directories in which any event counts
	names   map[string]bool   // other paths whose events count
	failure error
}

// New returns a watcher. If the system refuses to watch, the watcher has only its tick, and
// [Watcher.Failure] returns the reason.
func New(options Options) *Watcher {
	w := &Watcher{options: options, again: make(chan time.Time, 1), watched: map[string]fs.FileInfo{}}
	w.open()
	return w
}

// open opens the system's queue of events. The caller holds the lock.
func (w *Watcher) open() {
	if w.fs, w.failure = fsnotify.NewWatcher(); w.failure != nil {
		w.fs, w.failure = nil, fmt.Errorf("watching the file system: %w", w.failure)
	}
}

// Watch sets what is watched: everything directly in the directories dirs, and the paths, which
// it watches through their directories and those of the links in them. Changes in a directory
// that cannot be watched are noticed only at the tick; [Watcher.Failure] returns the reason. begun
// reports whether Watch began to watch a directory: earlier changes there gave no signal.
func (w *Watcher) Watch(dirs, paths []string) (begun bool) {
	w.changing.Lock()
	defer w.changing.Unlock()
	queue := w.opened()
	if queue == nil {
		return false
	}
	all, names, want := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, p := range paths {
		for _, name := range links(p) {
			names[name] = true
			want[filepath.Dir(name)] = true
		}
	}
	for _, d := range dirs {
		d = filepath.Clean(d)
		all[d], want[d] = true, true
	}
	w.mu.Lock()
	w.all, w.names = all, names
	w.mu.Unlock()
	for d := range w.watched {
		if !want[d] {
			w.drop(queue, d)
		}
	}
	var failure error
	for _, d := range slices.Sorted(maps.Keys(want)) {
		fresh, err := w.add(queue, d)
		begun = begun || fresh
		if failure == nil {
			failure = err
		}
	}
	w.mu.Lock()
	w.failure = failure
	w.mu.Unlock()
	return begun
}

// opened returns the queue of events, and tries again to open it if that failed before.
func (w *Watcher) opened() *fsnotify.Watcher {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fs == nil {
		if w.open(); w.fs != nil {
			w.Again(0) // so that Run sees the queue
		}
	}
	return w.fs
}

func (w *Watcher) drop(queue *fsnotify.Watcher, dir string) {
	_ = queue.Remove(dir) // it may be gone already
	delete(w.watched, dir)
}

// add watches a directory. If it was replaced, add watches the new one. It skips a missing
// directory: the parent signals when it appears.
func (w *Watcher) add(queue *fsnotify.Watcher, dir string) (begun bool, err error) {
	info, err := os.Stat(dir)
	if before := w.watched[dir]; before != nil {
		if err == nil && os.SameFile(before, info) {
			return false, nil
		}
		w.drop(queue, dir)
	}
	if err == nil {
		err = queue.Add(dir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		var p *fs.PathError
		if errors.As(err, &p) {
			err = p.Err
		}
		return false, fmt.Errorf("not every directory can be watched: %w", err)
	}
	w.watched[dir] = info
	return true, nil
}

// Again requests a signal after d. If an earlier signal was requested, only that one is given: its
// receiver calls Again if it still needs a later one.
func (w *Watcher) Again(d time.Duration) {
	due := time.Now().Add(d)
	for {
		select {
		case w.again <- due:
			return
		default:
		}
		select {
		case other := <-w.again: // Run has not received it yet
			due = sooner(due, other)
		default:
		}
	}
}

// sooner returns the earlier of two times; the zero time means never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Failure returns why some directories are not watched, or nil if all are. Changes in them are
// noticed at the next tick.
func (w *Watcher) Failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failure
}

// counts reports whether an event concerns a watched path.
func (w *Watcher) counts(e fsnotify.Event) bool {
	if e.Op == fsnotify.Chmod {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	name := filepath.Clean(e.Name)
	return w.names[name] || w.all[name] || w.all[filepath.Dir(name)]
}

// queue returns the channels of events; both are nil without a queue.
func (w *Watcher) queue() (events chan fsnotify.Event, failures chan error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fs == nil {
		return nil, nil
	}
	return w.fs.Events, w.fs.Errors
}

// Run gives the signals until the context ends, and then releases the watches.
func (w *Watcher) Run(ctx context.Context) error {
	defer w.close()
	var tick <-chan time.Time
	if w.options.Tick > 0 {
		t := time.NewTicker(w.options.Tick)
		defer t.Stop()
		tick = t.C
	}
	var due, later <-chan time.Time // of the signals for events and on request
	var first time.Time             // when the first event since the last signal came
	var asked time.Time             // when the requested signal is due
	soon := func() {
		now := time.Now()
		if first.IsZero() {
			first = now
		}
		due = time.After(min(quiet, latest-now.Sub(first)))
	}
	for {
		events, failures := w.queue()
		select {
		case <-ctx.Done():
			return nil
		case e := <-events:
			if w.counts(e) {
				soon()
			}
		case <-failures: // events may be lost: scan
			soon()
		case next := <-w.again:
			asked = sooner(asked, next)
			later = time.After(time.Until(asked))
		case <-tick:
			w.options.Changed(ctx)
		case <-later:
			asked = time.Time{}
			w.options.Changed(ctx)
		case <-due:
			first = time.Time{}
			w.options.Changed(ctx)
		}
	}
}

func (w *Watcher) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fs != nil {
		w.fs.Close()
		w.fs = nil
	}
}
