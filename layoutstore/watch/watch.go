// Package watch signals changes in a set of directories.
//
// A [Watcher] gives one signal for all changes within a short time. It also gives a signal at every
// tick, for file systems without events (NFS) and for directories that could not be watched. It
// does not say what has changed, so the receiver has to scan.
//
// Make a watcher with [New] and run it with [Watcher.Run]. After each scan, set the directories and
// paths to watch with [Watcher.Watch].
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
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Options configures a Watcher.
type Options struct {
	// Tick is the time between the signals that are given even without events. 0 means no such signals.
	Tick time.Duration
	// Changed is called for each signal, to scan for changes. The next signal waits until Changed returns.
	Changed func(context.Context)
}

// If changes follow each other within the time quiet, they are combined into one signal. But no
// change waits longer than latest.
const (
	quiet  = 100 * time.Millisecond
	latest = time.Second
)

// Watcher watches directories and gives a signal when they change.
type Watcher struct {
	options Options
	again   chan time.Time // has capacity 1, and contains the time at which the earliest requested signal is due

	// lost is whether events were lost since the last call of Watch. The ends of watches may be among them.
	lost atomic.Bool
	// losses has capacity 1. A value means that events were lost, so a scan is needed.
	losses chan struct{}

	// changing is locked while directories are added, which may hang if their disk hangs. mu is not
	// locked while they are added, so that no other method waits for the disk.
	changing sync.Mutex
	watched  map[string]fs.FileInfo // the state of each directory when the watch began

	mu sync.Mutex
	// fs is nil as long as the system refuses to create an event queue.
	fs *fsnotify.Watcher
	// all contains the directories in which every event counts.
	all map[string]bool
	// names contains the other paths whose events count.
	names map[string]bool
	// wanted contains all directories to watch.
	wanted map[string]bool
	// ended contains the directories that were removed or renamed since the last call of Watch. The system
	// then ends their watches, even if the same directory is back at its path.
	ended   map[string]bool
	failure error
}

// New returns a watcher. If the system refuses to watch, the watcher only gives a signal at each
// tick, and [Watcher.Failure] returns the reason.
func New(options Options) *Watcher {
	w := &Watcher{options: options, again: make(chan time.Time, 1), losses: make(chan struct{}, 1), watched: map[string]fs.FileInfo{}, ended: map[string]bool{}}
	w.open()
	return w
}

// open opens the system's event queue. The caller must hold mu, except in New.
func (w *Watcher) open() {
	if w.fs, w.failure = fsnotify.NewWatcher(); w.failure != nil {
		w.fs, w.failure = nil, fmt.Errorf("watching the file system: %w", w.failure)
		return
	}
	go w.noteLosses(w.fs.Errors)
}

// noteLosses records that events may have been lost, for each error of an event queue, until the queue is
// closed. It never waits: fsnotify may hold a lock until an error is received, and Watch and close, which
// may keep Run from receiving, need this lock.
func (w *Watcher) noteLosses(failures <-chan error) {
	for range failures {
		w.lost.Store(true)
		select {
		case w.losses <- struct{}{}:
		default: // Run has not yet received the last one
		}
	}
}

// Watch sets what to watch. In the directories dirs, it watches everything directly in them. It watches
// paths through their directories, and through the directories of links in them. If a directory cannot
// be watched, changes there are noticed only at the tick, and [Watcher.Failure] returns the reason.
// begun is true if Watch has begun to watch a directory. Earlier changes there have given no signal.
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
	w.all, w.names, w.wanted = all, names, want
	ended, lost := w.ended, w.lost.Swap(false)
	w.ended = map[string]bool{}
	w.mu.Unlock()
	for d := range w.watched {
		if !want[d] || ended[d] || w.isReplaced(d) {
			w.drop(queue, d)
		}
	}
	if lost {
		clear(w.watched) // add all directories again; this changes nothing for those that are still watched
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

// opened returns the event queue. If opening it failed before, opened tries again.
func (w *Watcher) opened() *fsnotify.Watcher {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fs == nil {
		if w.open(); w.fs != nil {
			w.Again(0) // makes Run use the new queue
		}
	}
	return w.fs
}

// isReplaced reports whether a path no longer leads to the directory that is watched there.
func (w *Watcher) isReplaced(dir string) bool {
	info, err := os.Stat(dir)
	return err != nil || !os.SameFile(w.watched[dir], info)
}

// drop stops watching a directory, under all of its paths: if links lead to it, fsnotify has one watch for
// all of them, and removes it with the path that was added first.
func (w *Watcher) drop(queue *fsnotify.Watcher, dir string) {
	dropped := w.watched[dir]
	for d, info := range w.watched {
		if os.SameFile(info, dropped) {
			_ = queue.Remove(d) // the directory may already be gone
			delete(w.watched, d)
		}
	}
}

// add watches a directory, unless it is watched already. It skips a missing directory, because its
// parent signals when it appears.
func (w *Watcher) add(queue *fsnotify.Watcher, dir string) (begun bool, err error) {
	if w.watched[dir] != nil {
		return false, nil
	}
	info, err := os.Stat(dir)
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

// Again requests a signal after the time d. If a signal is already requested for an earlier time,
// only that one is given. The receiver must call Again if it still needs a later signal.
func (w *Watcher) Again(d time.Duration) {
	due := time.Now().Add(d)
	for {
		select {
		case w.again <- due:
			return
		default:
		}
		select {
		case other := <-w.again: // Run has not yet received this request
			due = sooner(due, other)
		default:
		}
	}
}

// sooner returns the earlier one of two times. The zero time means never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Failure returns why some existing directories are not watched. It returns nil if all of them are.
// Changes in an unwatched directory are noticed at the next tick.
func (w *Watcher) Failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failure
}

// counts reports whether an event concerns a watched path, and is more than a change of attributes. If the
// event ends the watch of a directory, counts records that.
func (w *Watcher) counts(e fsnotify.Event) bool {
	if e.Op == fsnotify.Chmod {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	name := filepath.Clean(e.Name)
	if w.wanted[name] && (e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename)) {
		w.ended[name] = true
		return true
	}
	return w.names[name] || w.all[name] || w.all[filepath.Dir(name)]
}

// events returns the channel of the event queue. It is nil if there is no queue.
func (w *Watcher) events() <-chan fsnotify.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fs == nil {
		return nil
	}
	return w.fs.Events
}

// Run gives signals until the context ends. Then it stops watching, and returns nil.
func (w *Watcher) Run(ctx context.Context) error {
	defer w.close()
	var tick <-chan time.Time
	if w.options.Tick > 0 {
		t := time.NewTicker(w.options.Tick)
		defer t.Stop()
		tick = t.C
	}
	// due fires when a signal for events is due, and later fires when a requested signal is due.
	var due, later <-chan time.Time
	// first is the time of the first event since the last signal.
	var first time.Time
	// asked is the time at which the requested signal is due.
	var asked time.Time
	soon := func() {
		now := time.Now()
		if first.IsZero() {
			first = now
		}
		due = time.After(min(quiet, latest-now.Sub(first)))
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-w.events():
			if w.counts(e) {
				soon()
			}
		case <-w.losses:
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
