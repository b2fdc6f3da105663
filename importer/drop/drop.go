package drop

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/watch"
)

// Options say how a directory is watched into which bundles are dropped.
type Options struct {
	// Dir is the directory. It has to be there.
	Dir string
	// Settle is how long a bundle has to be unchanged.
	Settle time.Duration
	// Tick is how often to look beside the events of the file system; 0 is never.
	Tick time.Duration
	// Remove removes what was imported; else it goes to done/ in Dir.
	Remove bool
	// MaxFiles is how many files a directory may have that is dropped; 0 is 4,000,000.
	MaxFiles int
	// Guard is called before a bundle is imported and again before anything is moved or
	// removed. Its error says why neither is safe, as where the store turns out to be in
	// the directory: then nothing is touched. It may be nil.
	Guard func() error
	// Published is called after each import that changed the store. It may be nil.
	Published func(context.Context)
	// Now is the clock; nil is the system's.
	Now func() time.Time
}

// Drop imports what is dropped into a directory. Each archive there, in one file or
// in chunks, is a bundle, and so is each subdirectory but done and failed. A Drop imports
// a bundle when it is complete and has not changed for a while; until then the bundle waits.
// A complete but bad bundle is moved to failed/, with NAME.reason.json. Where a bundle
// cannot be read, the Drop tries again later.
type Drop struct {
	options  Options
	imports  importer.Options
	importer *importer.Importer
	note     publish.Note
	log      *zap.Logger
	watcher  *watch.Watcher
	saved    savedState
	stuck    map[string]error // bundles that an earlier process was moving out, by key
	looked   bool             // at least once

	mu      sync.Mutex       // guards what follows; Look is called by one goroutine
	items   map[string]*item // by the keys of their candidates
	history []Status
	totals  Totals
	damaged *Status // set while the saved state cannot be read
}

// item is a bundle in the directory.
type item struct {
	candidate
	status  Status
	since   time.Time // since when it is as it is
	pause   time.Duration
	retry   time.Time // not before
	settled bool      // nothing more is to be done with it as it is
}

// New makes a Drop. It imports as the first options say; their Progress is not used, and
// incomplete bundles are never published. Errors: those of importer.New; that the directory
// cannot be read.
func New(imports importer.Options, o Options) (*Drop, error) {
	if _, err := os.ReadDir(o.Dir); err != nil {
		return nil, fmt.Errorf("drop directory: %w", err)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaxFiles == 0 {
		o.MaxFiles = maxFiles
	}
	if o.Published == nil {
		o.Published = func(context.Context) {}
	}
	if o.Guard == nil {
		o.Guard = func() error { return nil }
	}
	d := &Drop{options: o, imports: imports, log: imports.Log, items: map[string]*item{}}
	if d.log == nil {
		d.log = zap.NewNop()
	}
	d.imports.Progress = d
	d.imports.AllowIncomplete = false // what is not published must not be moved away
	var err error
	if d.importer, err = importer.New(d.imports); err != nil {
		return nil, err
	}
	d.note = publish.Note{Store: imports.Store, Name: "dropped.json", Max: maxSavedState, Before: imports.Before}
	d.loadState()
	return d, nil
}

// Run looks whenever something changes, until ctx ends.
func (d *Drop) Run(ctx context.Context) error {
	d.watcher = watch.New(watch.Options{Tick: d.options.Tick, Changed: d.look})
	d.watcher.Again(0)
	return d.watcher.Run(ctx)
}

// moment is when to look again at a directory that was not watched before.
const moment = 100 * time.Millisecond

func (d *Drop) look(ctx context.Context) {
	dirs, again, err := d.Look(ctx)
	if err != nil && ctx.Err() == nil {
		d.log.Warn("looking at the drop directory", zap.String("path", d.options.Dir), zap.Error(err))
		return
	}
	if d.watcher.Watch(dirs, []string{d.options.Dir}) {
		again = moment // what changed before the watch began told nobody
	}
	if again > 0 {
		d.watcher.Again(again)
	}
}

// Look looks at the directory once and imports what is ready. dirs are those in
// which a change may be one of a bundle, and again is when to look once more in any
// case; 0 is never. Errors: the context's; the file system's.
func (d *Drop) Look(ctx context.Context) (dirs []string, again time.Duration, err error) {
	if !d.looked {
		d.note.RemoveDraft()
	}
	if d.damaged != nil {
		d.loadState() // somebody may have removed it
	}
	d.finishMoves(ctx)
	found, dirs, err := d.findCandidates(ctx)
	if err != nil {
		return nil, 0, err
	}
	d.forget(found)
	for _, c := range found {
		wait := d.consider(ctx, c)
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		if wait > 0 && (again == 0 || wait < again) {
			again = wait
		}
	}
	d.looked = true
	return dirs, again, nil
}

// forget lets go of the bundles that are not there any more.
func (d *Drop) forget(found []candidate) {
	d.mu.Lock()
	defer d.mu.Unlock()
	keys := map[string]bool{}
	for _, c := range found {
		keys[c.key()] = true
	}
	maps.DeleteFunc(d.items, func(key string, _ *item) bool { return !keys[key] })
	known := len(d.saved)
	maps.DeleteFunc(d.saved, func(key string, r savedBundle) bool { return !keys[key] && r.Leaving == nil })
	if len(d.saved) < known {
		if err := d.saveState(); err != nil {
			d.log.Warn("bundles that are gone stay recorded", zap.Error(err))
		}
	}
}

// consider imports a bundle if it is ready. wait is when to consider it again; 0 is
// when it has changed.
func (d *Drop) consider(ctx context.Context, c candidate) (wait time.Duration) {
	it, now := d.item(c), d.options.Now()
	if d.damaged != nil {
		d.wait(it, d.damaged.Detail)
		return firstPause
	}
	if err := d.stuck[c.key()]; err != nil {
		d.wait(it, err.Error())
		return firstPause
	}
	switch age := now.Sub(it.since); {
	case it.settled:
		return 0
	case c.kind == kindEntry:
		d.wait(it, c.unready[0])
		it.settled = true
		return 0
	case age < d.options.Settle:
		d.wait(it, justChanged)
		return d.options.Settle - age
	case now.Before(it.retry):
		return it.retry.Sub(now)
	}
	if reason, err := c.whyIncomplete(ctx, d.imports.CacheDir); err != nil {
		return d.retryLater(it, err)
	} else if reason != "" {
		d.wait(it, reason)
		it.settled = true // until it changes
		return 0
	}
	if err := d.options.Guard(); err != nil {
		return d.retryLater(it, err)
	}
	return d.importBundle(ctx, it)
}

// item is what is known of a candidate; one that changed is looked at anew.
func (d *Drop) item(c candidate) *item {
	d.mu.Lock()
	defer d.mu.Unlock()
	it, now := d.items[c.key()], d.options.Now()
	switch {
	case it == nil:
		it = &item{since: now}
		if !d.looked && c.kind == kindArchive && c.changed.Before(now) {
			it.since = c.changed // it lay there before the program began
		}
		d.items[c.key()] = it
	case it.identity != c.identity:
		*it = item{since: now}
	default:
		it.candidate = c
		return it
	}
	it.candidate = c
	it.status = Status{Name: c.name, Kind: c.kind, State: "waiting", Since: now}
	if known, ok := d.saved[c.key()]; ok && known.Leaving == nil && known.Identity == c.identity {
		it.status, it.settled = known.Status, true
	}
	return it
}

// importBundle imports a bundle, and does with it what is to be done then.
func (d *Drop) importBundle(ctx context.Context, it *item) (wait time.Duration) {
	d.setState(it, "verifying", "")
	d.log.Info("importing", zap.String("bundle", it.name))
	report, err := d.importer.Import(ctx, it.path)
	var gap *importer.GapError
	switch {
	case ctx.Err() != nil:
		return 0
	case errors.As(err, &gap) && gap.Passing():
		return d.retryLater(it, err)
	case errors.As(err, &gap) && it.kind == kindDirectory && onlyIncomplete(gap):
		d.wait(it, gap.Error())
		it.settled = true
		return 0
	case errors.As(err, &gap):
		d.log.Error("not imported", zap.String("bundle", it.name), zap.Error(err))
		return d.setAside(ctx, it, gap)
	case err != nil:
		return d.retryLater(it, err)
	}
	d.log.Info("imported", zap.String("bundle", it.name), zap.Uint64("generation", report.Generation), zap.Bool("changed", report.Changed))
	d.mu.Lock()
	it.status.Generation = report.Generation
	d.mu.Unlock()
	if report.Changed {
		d.options.Published(ctx)
	}
	if err := report.ReadAll(ctx); err != nil {
		return d.keepUnread(ctx, it, err)
	}
	return d.takeOutImported(ctx, it, report.Opened)
}

// onlyIncomplete says whether a bundle may become whole by what is added to it.
func onlyIncomplete(gap *importer.GapError) bool {
	return !slices.ContainsFunc(gap.Gaps, func(p layoutstore.Problem) bool { return p.Kind != layoutstore.Incomplete })
}

// Pauses before a bundle is tried again that could not be imported for no fault of its own.
const (
	firstPause = 10 * time.Second
	lastPause  = 10 * time.Minute
)

// retryLater has a bundle tried again, after a pause that grows.
func (d *Drop) retryLater(it *item, err error) time.Duration {
	it.pause = min(max(firstPause, 2*it.pause), lastPause)
	it.retry = d.options.Now().Add(it.pause)
	d.log.Warn("importing failed and is tried again", zap.String("bundle", it.name), zap.Duration("pause", it.pause), zap.Error(err))
	detail := err.Error()
	var room *importer.NoSpaceError
	if errors.As(err, &room) || errors.Is(err, syscall.ENOSPC) {
		detail = "room: " + detail
	}
	d.wait(it, detail)
	return it.pause
}
