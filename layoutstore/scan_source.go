package layoutstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// SourceStatus is the state of a source, or of an archive in one.
type SourceStatus struct {
	Path string `json:"path"`
	Kind string `json:"kind"` // "directory", "tar" or "chunks"
	// State is "ready"; "waiting", for an archive that is still being written;
	// "incomplete", for an archive without a part; "missing" or "failing".
	State        string `json:"state"`
	Repositories int    `json:"repositories"`
	Detail       string `json:"detail"`
}

// source is one SOURCE of the command line, and its state after the last scan. A scan makes
// a new state and does not change the old one.
type source struct {
	path    string
	roots   []string        // of its own; empty for the tree's
	others  map[string]bool // the paths of all sources
	cache   volume.Cache
	settle  time.Duration
	key     *inventory.VerifyKey
	opened  func(fs.FileInfo) // of Options
	unread  func(fs.FileInfo) // of Options
	bucket  bucket.Reader     // nil for a source in the file system
	objects *volume.Objects   // in the bucket, unless it has a store
	archive string            // the archive that a source in a bucket is, or empty
	scanned bool              // at least once
	last    sourceState       // that the last scan found

	ignoreInventory, treesOnly bool
	store                      bool // may be a store in a bucket that is still empty
}

type sourceState struct {
	archives []*volumeState // in the order of [CompareArchives]
	loose    *volumeState   // the directory's own tree; nil where the source is an archive
	problems []Problem
	failed   error    // of the last scan; then the rest is from an earlier one
	dirs     []string // to watch for changes
	// inventory is nil where nothing of the source could be read.
	inventory *sourceInventory
	// generation is the key of the generation of a store in a bucket.
	generation string
	filtered   map[*indexedLayout]filtered // what is signed of each layout; nil without a key
	again      time.Duration               // when to scan again without a signal; 0 is never
}

// volumeState is one volume of a source, as the last scan found it.
type volumeState struct {
	vol      volume.Volume    // nil while an archive is waiting
	layouts  []*indexedLayout // by path
	problems []Problem
	status   SourceStatus

	name       string // of an archive
	identity   string // of its files
	written    string // of its files
	changedAt  time.Time
	unreadable bool         // its files could not be read; each scan tries again
	moved      bool         // a file was replaced, or its links changed, during the scan
	tagged     *volumeState // the state with tags, where a prune has taken them; else nil
}

// volumes returns the volumes in merge order.
func (st *sourceState) volumes() []*volumeState {
	if st.loose == nil {
		return st.archives
	}
	return append(slices.Clip(st.archives), st.loose)
}

// status returns the status of one of the volumes.
func (st *sourceState) status(h *volumeState) SourceStatus {
	if st.failed == nil {
		return h.status
	}
	failing := *h
	failing.setFailing(st.failed)
	return failing.status
}

// errNotSource says that a source is of an unsupported kind.
var errNotSource = errors.New("neither a directory nor a .tar archive nor a chunk of one (NAME.tar.0000.chunk)")

// openSource opens the source at a path, which must exist.
func openSource(path string, o Options) (*source, error) {
	if bucket.IsPlace(path) {
		return openBucketSource(path, o)
	}
	roots := o.SourceRoots[path]
	path = volume.CleanPath(path)
	s := &source{path: path, roots: roots, others: pathsOf(o.Sources), cache: volume.Cache(o.CacheDir), settle: o.Settle, opened: o.Opened, unread: o.Unread,
		key: o.VerifyKey, ignoreInventory: o.IgnoreInventory, treesOnly: o.TreesOnly}
	dir, archive, err := s.findDirectory()
	if err != nil {
		return nil, sourceError(path, err)
	}
	found, err := volume.FindArchives(dir)
	if errors.As(err, new(*volume.UnfinishedError)) {
		return s, nil // the scan makes a problem of it
	}
	if err != nil {
		return nil, sourceError(path, err)
	}
	if found = selectArchive(found, archive); archive != "" && len(found.Sets) == 0 {
		err := fs.ErrNotExist
		if len(found.Problems) > 0 {
			err = found.Problems[0].Cause()
		}
		return nil, sourceError(path, err)
	}
	return s, nil
}

// sourceError adds the path of a source to an error, and removes the name of the system call.
func sourceError(path string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return fmt.Errorf("source %s: %w", path, err)
}

// findDirectory returns the directory of the source; if the source is an archive, the one
// that contains it. It follows the links in the path each time.
func (s *source) findDirectory() (dir, archive string, err error) {
	info, err := os.Stat(s.path)
	if err == nil && info.IsDir() {
		return s.path, "", nil
	}
	path := s.path
	if err == nil {
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return "", "", err
		}
	}
	// A chunk set may be named as its archive, which does not exist then.
	archive, ok := volume.IsArchive(filepath.Base(path))
	switch {
	case ok && (err == nil || errors.Is(err, fs.ErrNotExist)):
		return filepath.Dir(path), archive, nil
	case err != nil:
		return "", "", err
	}
	if class := volume.ClassifyName(filepath.Base(path)); class.Reason != "" {
		return "", "", fmt.Errorf("%w: %s: %s", errNotSource, class.Reason, class.Advice)
	}
	return "", "", errNotSource
}

// scanOnce scans the source once; store is its state if it is a store.
func (s *source) scanOnce(ctx context.Context, now time.Time, store *journal.View) (sourceState, error) {
	dir, archive, err := s.findDirectory()
	var found volume.Found
	if err == nil {
		found, err = volume.FindArchives(dir)
	}
	found = selectArchive(found, archive)
	if archive == "" && s.treesOnly {
		found = volume.Found{Dir: found.Dir}
	}
	if archive != "" {
		if err == nil && len(found.Sets) == 0 && len(found.Problems) == 0 {
			err = fs.ErrNotExist
		}
	}
	switch {
	case IsExhausted(err):
		return sourceState{}, err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errNotSource), errors.Is(err, syscall.ENOTDIR):
		return s.missingState(err), nil
	case errors.As(err, new(*volume.UnfinishedError)) && !s.scanned:
		return s.incompleteState(dir, err), nil
	case err != nil:
		return s.failingState(err), nil
	}
	next := sourceState{dirs: []string{dir}}
	if store != nil {
		next.dirs = append(next.dirs, filepath.Join(dir, journal.Dir))
	}
	if next.inventory, err = s.findInventory(&next, dir, store, now); err != nil {
		return s.stateWithout(dir, err)
	}
	if err := s.scanArchives(ctx, &next, visibleArchives(store, found), store, now); err != nil {
		return sourceState{}, err
	}
	if archive == "" {
		if next.loose, err = s.scanLoose(ctx, &next, dir, store); err != nil {
			return sourceState{}, err
		}
	}
	if store == nil {
		if err := s.compareInventory(&next, dir, archive, now); err != nil {
			return s.stateWithout(dir, err)
		}
	}
	s.keepSigned(&next)
	return next, nil
}

// selectArchive keeps only the findings about one archive, or all of them for an empty name.
func selectArchive(found volume.Found, archive string) volume.Found {
	if archive == "" {
		return found
	}
	found.Sets = slices.DeleteFunc(found.Sets, func(s volume.Set) bool { return s.Name != archive })
	found.Problems = slices.DeleteFunc(found.Problems, func(p Problem) bool {
		name, _ := volume.IsArchive(p.Path)
		return name != archive
	})
	return found
}

// missingState returns the state of a source that does not exist any more.
func (s *source) missingState(err error) sourceState {
	return sourceState{
		problems: []Problem{{Kind: Incomplete, Path: s.path, Reason: "the source is gone: its repositories are not served"}},
		archives: []*volumeState{{status: SourceStatus{Path: s.path, Kind: s.kind(), State: "missing", Detail: err.Error()}}},
	}
}

// incompleteState returns the state of a source in which an interrupted pull cannot be completed.
func (s *source) incompleteState(dir string, err error) sourceState {
	return sourceState{
		dirs:     []string{dir},
		problems: []Problem{{Kind: Incomplete, Path: dir, Reason: err.Error(), TagsUnknown: true}},
		archives: []*volumeState{{status: SourceStatus{Path: s.path, Kind: s.kind(), State: "incomplete", Detail: err.Error()}}},
	}
}

// failingState returns the state of a source that cannot be scanned: the last state and a problem.
func (s *source) failingState(err error) sourceState {
	if s.key != s.last.inventory.key() {
		return s.refusedState(s.path, err) // the last state is not proven with this key
	}
	next := s.last
	next.failed = err
	next.problems = []Problem{{Kind: Damaged, Path: s.path, Reason: fmt.Sprintf("%v: the last good state is still served", err)}}
	next.again = 0
	return next
}

func (h *volumeState) setFailing(err error) { h.status.State, h.status.Detail = "failing", err.Error() }

func (s *source) kind() string {
	if s.bucket != nil && s.archive == "" {
		return "bucket"
	}
	if name, ok := volume.IsArchive(filepath.Base(s.path)); ok {
		if name != filepath.Base(s.path) {
			return "chunks"
		}
		return "tar"
	}
	return "directory"
}

// scanLoose scans the unpacked layouts in the directory.
func (s *source) scanLoose(ctx context.Context, next *sourceState, dir string, store *journal.View) (*volumeState, error) {
	h := &volumeState{status: SourceStatus{Path: s.path, Kind: "directory", State: "ready"}}
	vol, err := s.openDirectory(dir)
	if IsExhausted(err) {
		return nil, err
	}
	if err != nil {
		if s.last.loose == nil {
			return h, nil // removed during the scan; the next scan reports it
		}
		return s.last.loose, nil
	}
	h.vol = vol
	var old []*indexedLayout
	if s.last.loose != nil {
		old = s.last.loose.layouts
	}
	listing, err := vol.Layouts(ctx)
	if err != nil {
		return nil, err
	}
	listing.Nested = slices.DeleteFunc(listing.Nested, func(p Problem) bool { return s.readsElsewhere(filepath.Join(dir, p.Path)) })
	if err := h.readLayouts(ctx, visibleLayouts(store, listing), old); err != nil {
		return nil, err
	}
	next.dirs = append(next.dirs, listing.Dirs...)
	return h, nil
}

// readsElsewhere reports whether an archive below the top of the source is read anyway: it,
// or its directory, is a source of its own.
func (s *source) readsElsewhere(file string) bool {
	archive, _ := volume.IsArchive(filepath.Base(file))
	dir := filepath.Dir(file)
	return s.others[dir] || s.others[file] || s.others[filepath.Join(dir, archive)]
}

// pathsOf returns the paths of sources, as a source has them.
func pathsOf(sources []string) map[string]bool {
	paths := make(map[string]bool, len(sources))
	for _, path := range sources {
		paths[volume.CleanPath(path)] = true
	}
	return paths
}

// openDirectory opens the directory, because its path may be a link that was changed. It
// returns the present volume if that is still the same directory.
func (s *source) openDirectory(dir string) (*volume.Dir, error) {
	vol, err := volume.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	vol.Observe(s.opened)
	if s.last.loose != nil {
		if have, ok := s.last.loose.vol.(*volume.Dir); ok && vol.SameAs(have) {
			return have, vol.Close()
		}
	}
	return vol, nil
}
