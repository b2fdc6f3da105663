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
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/watch"
)

// Options configure how a drop directory is watched, and what happens to imported bundles.
type Options struct {
	// Dir is the drop directory. It has to exist.
	Dir string
	// Settle is how long a bundle must stay unchanged before it is imported.
	Settle time.Duration
	// Tick is the interval between regular scans, which need no file system event. 0 means no regular scans.
	Tick time.Duration
	// If Remove is set, imported bundles are removed. Otherwise, they are moved to done/ in Dir.
	Remove bool
	// MaxFiles limits the number of files in a dropped directory; 0 means 4,000,000.
	MaxFiles int
	// Guard is called before a bundle is imported, and again before its files are moved or removed.
	// If it returns an error, the bundle is not imported, or its files stay. For example, it can
	// check that the store is not inside of Dir. It may be nil.
	Guard func() error
	// Published is called after each import that changed the store. It may be nil.
	Published func(context.Context)
	// Now returns the current time; nil means time.Now.
	Now func() time.Time
}

// Drop imports bundles that are dropped into a directory. Each archive there, in one file or in chunks, is a
// bundle. Each subdirectory is a bundle, too, except done, failed and names that begin with a dot. A bundle
// waits until it is complete and has stayed unchanged for a while. A complete but damaged bundle is moved to
// failed/, with NAME.reason.json beside it. If a bundle cannot be read, the Drop retries later.
type Drop struct {
	options  Options
	imports  importer.Options
	importer *importer.Importer
	before   func(op, path string) error // called before each change of a file
	note     publish.Note
	log      *zap.Logger
	watcher  *watch.Watcher
	saved    savedState
	stuck    map[string]error // errors of unfinished moves of an earlier process, by key

	scanned bool // whether the first scan is complete

	mu sync.Mutex // guards the following fields; only the goroutine of Scan changes the fields above

	items   map[string]*item // bundles in the directory, by candidate.key
	history []Status
	totals  Totals
	logged  time.Time // time of the last log line about the progress of an import

	damaged *Status // describes a damaged saved state; nil if it is intact
}

// item is a bundle in the directory.
type item struct {
	candidate
	status Status
	since  time.Time // time of the bundle's last change
	pause  time.Duration
	retry  time.Time // earliest time of the next attempt

	settled bool // whether the bundle is ignored until it changes
}

// New returns a Drop. It ignores the importer options Progress and AllowIncomplete, because a Drop
// shows progress itself and never publishes incomplete bundles. If the directory cannot be read,
// New returns an error. Other errors come from importer.New.
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
	d := &Drop{options: o, imports: imports, before: imports.Before, log: imports.Log, items: map[string]*item{}}
	if d.log == nil {
		d.log = zap.NewNop()
	}
	if d.before == nil {
		d.before = func(string, string) error { return nil }
	}
	d.imports.Progress = d
	d.imports.AllowIncomplete = false // files may be moved away only if all of their content is published
	var err error
	if d.importer, err = importer.New(d.imports); err != nil {
		return nil, err
	}
	d.note = publish.Note{Store: imports.Store, Name: "dropped.json", Max: maxSavedState, Before: imports.Before}
	d.loadState()
	return d, nil
}

// Run scans the directory whenever something changes, until ctx ends.
func (d *Drop) Run(ctx context.Context) error {
	d.watcher = watch.New(watch.Options{Tick: d.options.Tick, Changed: d.scanDir})
	d.watcher.Again(0)
	return d.watcher.Run(ctx)
}

// moment is the delay after which a newly watched directory is scanned again.
const moment = 100 * time.Millisecond

func (d *Drop) scanDir(ctx context.Context) {
	dirs, again, err := d.Scan(ctx)
	if err != nil && ctx.Err() == nil {
		d.log.Warn("cannot scan the drop directory", zap.String("path", d.options.Dir), zap.Error(err))
		return
	}
	if d.watcher.Watch(dirs, []string{d.options.Dir}) {
		again = moment // changes before the watch began have caused no event
	}
	if again > 0 {
		d.watcher.Again(again)
	}
}

// Scan scans the directory once, and imports each bundle that is ready. dirs are the directories to
// watch. again is the time until the next scan if there is no event; 0 means no such scan. Errors
// come from the context and the file system.
func (d *Drop) Scan(ctx context.Context) (dirs []string, again time.Duration, err error) {
	if !d.scanned {
		d.note.RemoveDraft()
	}
	if d.damaged != nil {
		d.loadState() // read the state again, because somebody may have removed the damaged file
	}
	d.finishMoves(ctx)
	found, dirs, err := d.findCandidates(ctx)
	if err != nil {
		return nil, 0, err
	}
	d.forget(found)
	for _, c := range found {
		wait := d.importIfReady(ctx, c)
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		if wait > 0 && (again == 0 || wait < again) {
			again = wait
		}
	}
	d.scanned = true
	return dirs, again, nil
}

func (d *Drop) forget(found []candidate) {
	d.mu.Lock()
	defer d.mu.Unlock()
	keys := map[string]bool{}
	for _, c := range found {
		keys[c.key()] = true
	}
	maps.DeleteFunc(d.items, func(key string, _ *item) bool { return !keys[key] })
	known := len(d.saved)
	maps.DeleteFunc(d.saved, func(key string, r savedBundle) bool { return !keys[key] && r.Move == nil })
	if len(d.saved) < known {
		if err := d.saveState(); err != nil {
			d.log.Warn("cannot remove the records of deleted bundles", zap.Error(err))
		}
	}
}

// importIfReady imports a bundle if it is ready. wait is the time until the next attempt; 0 means
// that only a change causes an attempt.
func (d *Drop) importIfReady(ctx context.Context, c candidate) (wait time.Duration) {
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
		return d.waitForChange(it, c.unready[0])
	case age < d.options.Settle:
		d.wait(it, justChanged)
		return d.options.Settle - age
	case now.Before(it.retry):
		return it.retry.Sub(now)
	}
	if reason, err := c.whyIncomplete(ctx, d.imports.CacheDir); err != nil {
		return d.retryLater(it, err)
	} else if reason != "" {
		return d.waitForChange(it, reason)
	}
	if err := d.options.Guard(); err != nil {
		return d.retryLater(it, err)
	}
	return d.importBundle(ctx, it)
}

// item returns the item of a candidate. If the candidate is new or has changed, the item is new.
func (d *Drop) item(c candidate) *item {
	d.mu.Lock()
	defer d.mu.Unlock()
	it, now := d.items[c.key()], d.options.Now()
	switch {
	case it == nil:
		it = &item{since: now}
		if !d.scanned && c.kind == kindArchive && c.changed.Before(now) {
			it.since = c.changed // the archive existed before this process started
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
	if known, ok := d.saved[c.key()]; ok && known.Move == nil && known.Identity == c.identity {
		it.status, it.settled = known.Status, true
	}
	return it
}

// importBundle imports a bundle, and then moves or removes its files.
func (d *Drop) importBundle(ctx context.Context, it *item) (wait time.Duration) {
	d.setState(it, "verifying", "")
	d.log.Info("importing", zap.String("bundle", it.name))
	report, err := d.importer.Import(ctx, it.path)
	var incomplete *importer.IncompleteError
	var refused *inventory.SignatureError
	switch {
	case ctx.Err() != nil:
		return 0
	case errors.As(err, &incomplete) && incomplete.IsTransient():
		return d.retryLater(it, err)
	case errors.As(err, &incomplete) && it.kind == kindDirectory && onlyIncomplete(incomplete):
		return d.waitForChange(it, incomplete.Error())
	case errors.As(err, &refused) && refused.Why == inventory.Unsigned:
		return d.waitForChange(it, refused.Error()) // the signature may still arrive
	case errors.As(err, &refused), errors.Is(err, inventory.ErrFormat):
		incomplete = &importer.IncompleteError{Problems: []layoutstore.Problem{{Kind: layoutstore.Damaged, Path: it.path, Reason: err.Error(), Err: err}}}
		fallthrough
	case errors.As(err, &incomplete):
		d.log.Error("cannot import bundle", zap.String("bundle", it.name), zap.Error(err))
		return d.setAside(ctx, it, incomplete)
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
	if report.ReadAll(ctx) != nil {
		return 0 // ctx has ended: the bundle stays, and the next process imports it again
	}
	return d.clearImported(ctx, it, report.Opened)
}

// onlyIncomplete reports whether missing files, which may still arrive, are the only problems of a bundle.
func onlyIncomplete(incomplete *importer.IncompleteError) bool {
	return !slices.ContainsFunc(incomplete.Problems, func(p layoutstore.Problem) bool { return p.Kind != layoutstore.Incomplete })
}

// Shortest and longest pause before a retry, after a failure that is not the bundle's fault.
const (
	firstPause = 10 * time.Second
	lastPause  = 10 * time.Minute
)

// retryLater schedules a retry, and returns the pause before it. The pause doubles with each failure.
func (d *Drop) retryLater(it *item, err error) time.Duration {
	it.pause = min(max(firstPause, 2*it.pause), lastPause)
	it.retry = d.options.Now().Add(it.pause)
	d.log.Warn("import failed, will retry", zap.String("bundle", it.name), zap.Duration("pause", it.pause), zap.Error(err))
	detail := err.Error()
	var room *importer.NoSpaceError
	if errors.As(err, &room) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		detail = "free space: " + detail
	}
	d.wait(it, detail)
	return it.pause
}
