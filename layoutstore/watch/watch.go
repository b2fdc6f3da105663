// Package watch says that something below a set of directories has changed.
//
// A [Watcher] gives one signal for any number of changes that come together, and
// one at every tick, for file systems that tell nothing (NFS) and for directories
// that could not be watched. It does not say what changed: whoever listens looks.
//
// Make one with [New], tell it what to watch with [Watcher.Watch] after each
// look, and run it with [Watcher.Run].
package watch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Options of a Watcher.
type Options struct {
	// Tick is how often a signal is given without any event; 0 is never.
	Tick time.Duration
	// Changed is the signal: a function that looks at what changed, and whose end
	// the watcher waits for before the next signal.
	Changed func(context.Context)
}

// Changes that come within quiet of one another are one signal, but none waits
// longer than latest.
const (
	quiet  = 100 * time.Millisecond
	latest = time.Second
)

// Watcher watches directories.
type Watcher struct {
	options Options
	fs      *fsnotify.Watcher // nil where the system has none left for us

	mu      sync.Mutex
	watched map[string]bool // whether an event of any name in the directory counts
	names   map[string]bool // paths whose events count where their directory's do not
	failure error
}

// New makes a watcher. It works by its tick alone where the system refuses to
// watch; [Watcher.Failure] tells.
func New(options Options) *Watcher {
	w := &Watcher{options: options, watched: map[string]bool{}, names: map[string]bool{}}
	var err error
	if w.fs, err = fsnotify.NewWatcher(); err != nil {
		w.failure = fmt.Errorf("watching the file system: %w", err)
	}
	return w
}

// Watch replaces what is watched: everything directly in the directories dirs,
// and the paths themselves, by way of the directories that they lie in. What
// cannot be watched is left to the tick, and to [Watcher.Failure]. It says whether
// it began to watch anything: what changed there before is not signalled.
func (w *Watcher) Watch(dirs, paths []string) (begun bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fs == nil {
		return false
	}
	want := map[string]bool{}
	clear(w.names)
	for _, p := range paths {
		p = filepath.Clean(p)
		want[filepath.Dir(p)] = false
		w.names[p] = true
	}
	for _, d := range dirs {
		want[filepath.Clean(d)] = true
	}
	for d := range w.watched {
		if _, ok := want[d]; !ok {
			_ = w.fs.Remove(d) // it may be gone already
			delete(w.watched, d)
		}
	}
	w.failure = nil
	for d, all := range want {
		// Again for those that are watched: another directory may stand there now.
		if err := w.fs.Add(d); err != nil {
			w.failed(d, err)
			delete(w.watched, d)
			continue
		}
		if _, ok := w.watched[d]; !ok {
			begun = true
		}
		w.watched[d] = all
	}
	return begun
}

// failed keeps the first failure. A directory that has gone meanwhile is none: its
// parent tells of it.
func (w *Watcher) failed(dir string, err error) {
	if w.failure == nil && !errors.Is(err, fs.ErrNotExist) {
		w.failure = fmt.Errorf("watching %s: %w", dir, err)
	}
}

// Failure says why some directories are not watched; changes in them are seen at
// the next tick. It is nil where all are.
func (w *Watcher) Failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failure
}

// counts says whether an event is about something that is watched.
func (w *Watcher) counts(e fsnotify.Event) bool {
	if e.Op == fsnotify.Chmod {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	name := filepath.Clean(e.Name)
	return w.names[name] || w.watched[name] || w.watched[filepath.Dir(name)]
}

// Run gives the signals until the context ends, and then releases the watches.
func (w *Watcher) Run(ctx context.Context) error {
	var events chan fsnotify.Event
	var failures chan error
	if w.fs != nil {
		defer w.fs.Close()
		events, failures = w.fs.Events, w.fs.Errors
	}
	var tick <-chan time.Time
	if w.options.Tick > 0 {
		t := time.NewTicker(w.options.Tick)
		defer t.Stop()
		tick = t.C
	}
	due := time.NewTimer(time.Hour)
	due.Stop()
	defer due.Stop()
	var first time.Time // of the events that are not signalled yet
	soon := func() {
		now := time.Now()
		if first.IsZero() {
			first = now
		}
		due.Reset(min(quiet, latest-now.Sub(first)))
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-events:
			if w.counts(e) {
				soon()
			}
		case <-failures: // events were lost: look
			soon()
		case <-tick:
			w.options.Changed(ctx)
		case <-due.C:
			first = time.Time{}
			w.options.Changed(ctx)
		}
	}
}
