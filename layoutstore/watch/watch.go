// Package watch signals changes below a set of directories.
//
// A [Watcher] gives one signal for any number of changes that come together, and
// one at every tick, for file systems without events (NFS) and for directories
// that could not be watched. It does not say what changed: the receiver scans.
//
// Make one with [New], set what it watches with [Watcher.Watch] after each scan,
// and run it with [Watcher.Run].
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
	// Tick is how often a signal is given without any event; 0 is never.
	Tick time.Duration
	// Changed is called for each signal, and scans for changes. The watcher waits for
	// its end before the next signal.
	Changed func(context.Context)
}

// Changes within the time quiet of one another are one signal, but none waits longer
// than latest.
const (
	quiet  = 100 * time.Millisecond
	latest = time.Second
)

// Watcher watches directories.
type Watcher struct {
	options Options
	again   chan time.Time // of one: when the sooner of the signals is due that were asked for

	// changing is held while directories are added, which may hang with their disk. mu is never
	// held meanwhile, so that no other call waits for that disk.
	changing sync.Mutex
	watched  map[string]fs.FileInfo // the directories, as they were when the watch began

	mu      sync.Mutex
	fs      *fsnotify.Watcher // nil while the system has none left for us
	all     map[string]bool   // those in which an event of any name counts
	names   map[string]bool   // paths whose events count anyway
	failure error
}

// New returns a watcher. If the system refuses to watch, it works by its tick alone,
// and [Watcher.Failure] says so.
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

// Watch replaces what is watched: everything directly in the directories dirs,
// and the paths themselves, through the directories of the paths and of the links in
// them. A directory that cannot be watched depends on the tick; [Watcher.Failure]
// reports it. begun reports whether Watch began to watch anything: earlier changes
// there are not signalled.
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

// add watches a directory, again if it was replaced. It skips a missing directory: the
// parent signals when it appears.
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

// Again asks for a signal after d. If an earlier one is already due, that one is kept:
// its receiver asks again if it still needs the later one.
func (w *Watcher) Again(d time.Duration) {
	due := time.Now().Add(d)
	for {
		select {
		case w.again <- due:
			return
		default:
		}
		select {
		case other := <-w.again: // not seen yet
			due = sooner(due, other)
		default:
		}
	}
}

// sooner returns the sooner of two times; the zero time is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Failure says why some directories are not watched; changes in them are seen at
// the next tick. It is nil if all are watched.
func (w *Watcher) Failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failure
}

// counts reports whether an event is about something that is watched.
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
	due, later := stopped(), stopped()
	defer due.Stop()
	defer later.Stop()
	var first time.Time // of the events that are not signalled yet
	var asked time.Time // when the signal is due that was asked for
	soon := func() {
		now := time.Now()
		if first.IsZero() {
			first = now
		}
		due.Reset(min(quiet, latest-now.Sub(first)))
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
		case <-failures: // events were lost: scan
			soon()
		case due := <-w.again:
			asked = sooner(asked, due)
			later.Reset(time.Until(asked))
		case <-tick:
			w.options.Changed(ctx)
		case <-later.C:
			asked = time.Time{}
			w.options.Changed(ctx)
		case <-due.C:
			first = time.Time{}
			w.options.Changed(ctx)
		}
	}
}

// stopped returns a timer that is not set.
func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

func (w *Watcher) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fs != nil {
		w.fs.Close()
		w.fs = nil
	}
}
