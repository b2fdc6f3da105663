package layoutstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// SourceStatus is the state of a source, or of an archive in a source.
type SourceStatus struct {
	Path string `json:"path"`
	Kind string `json:"kind"` // "directory", "tar", "chunks" or "bucket"
	// State is "ready", "waiting" (an archive that is still being written), "incomplete" (an
	// archive with missing parts), "missing" or "failing".
	State        string `json:"state"`
	Repositories int    `json:"repositories"`
	Detail       string `json:"detail"`
}

// source is a SOURCE from the command line, with its state after the last scan. A scan makes a new
// state, and does not change the old state.
type source struct {
	path    string
	roots   []string        // its own roots; empty if it uses the roots of the tree
	others  map[string]bool // paths of all sources of the tree
	cache   volume.Cache
	settle  time.Duration
	key     *inventory.VerifyKey
	opened  func(fs.FileInfo) // called for each file that a scan reads
	unread  func(fs.FileInfo) // called for each chunk that a scan does not read
	bucket  bucket.Reader     // nil for a source in the file system
	objects *volume.Objects   // objects in the bucket, unless it contains a store
	archive string            // name of the archive in a bucket that is the source, or empty
	scanned bool              // whether the source was scanned at least once
	last    sourceState       // state after the last scan

	ignoreInventory, treesOnly bool
	store                      bool // whether the source is Options.Store in a bucket, which may still be empty
}

type sourceState struct {
	archives   []*volumeState // archives in merge order: by generation of the import, then by [CompareArchives]
	loose      *volumeState   // unpacked layouts; nil if the source is an archive
	problems   []Problem
	failed     error                       // error of the last scan; if set, the other fields are from an earlier scan
	dirs       []string                    // directories to watch for changes
	inventory  *sourceInventory            // nil if the source could not be read
	generation string                      // for a store in a bucket: key of the object that contains the generation
	filtered   map[*indexedLayout]filtered // signed part of each layout; nil without a public key for signatures
	again      time.Duration               // time to wait before the next scan; 0 means until something changes
}

// volumeState is the state of a volume of a source, as the last scan found it.
type volumeState struct {
	vol      volume.Volume    // volume to read from; nil while an archive is waiting
	layouts  []*indexedLayout // sorted by path
	problems []Problem
	status   SourceStatus

	name       string // name of the archive
	identity   string // result of volume.Set.Identity for the archive
	written    string // result of volume.Set.Written for the archive
	changedAt  time.Time
	unreadable bool         // whether the files could not be read; then each scan tries again
	moved      bool         // whether a file was replaced, or its links changed, during the scan
	tagged     *volumeState // state with the tags that a prune has removed, or nil
}

// volumes returns the volumes in merge order.
func (st *sourceState) volumes() []*volumeState {
	if st.loose == nil {
		return st.archives
	}
	return append(slices.Clip(st.archives), st.loose)
}

// looseOrEmpty returns the state of the unpacked layouts. It is never nil.
func (st *sourceState) looseOrEmpty() *volumeState { return cmp.Or(st.loose, &volumeState{}) }

func (st *sourceState) status(h *volumeState) SourceStatus {
	status := h.status
	if st.failed != nil {
		status.State, status.Detail = "failing", st.failed.Error()
	}
	return status
}

// errNotSource is the error for a source of an unsupported kind.
var errNotSource = errors.New("neither a directory nor a .tar archive nor a chunk of one (NAME.tar.0000.chunk)")

// openSource prepares the source at a path, which must exist.
func openSource(path string, o Options) (*source, error) {
	s := &source{path: volume.CleanPath(path), roots: o.SourceRoots[path], others: pathsOf(o.Sources), cache: volume.Cache(o.CacheDir), settle: o.Settle,
		key: o.keyOf(path), ignoreInventory: o.IgnoreInventory, treesOnly: o.TreesOnly}
	if bucket.IsPlace(path) {
		s.store = path == o.Store
		return s, s.openBucket(path, o)
	}
	s.opened, s.unread = o.Opened, o.Unread
	dir, archive, err := s.findDirectory()
	if err != nil {
		return nil, sourceError(s.path, err)
	}
	found, err := volume.FindArchives(dir)
	if errors.As(err, new(*volume.UnfinishedError)) {
		return s, nil // the scan reports this as a problem
	}
	if err != nil {
		return nil, sourceError(s.path, err)
	}
	if found = s.selectFound(found, archive); archive != "" && len(found.Sets) == 0 {
		err := fs.ErrNotExist
		if len(found.Problems) > 0 {
			err = found.Problems[0].Cause()
		}
		return nil, sourceError(s.path, err)
	}
	return s, nil
}

// sourceError returns an error with the path of a source, but without the name of the system call.
func sourceError(path string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return fmt.Errorf("source %s: %w", path, err)
}

// findDirectory returns the directory of the source. If the source is an archive, it returns the
// directory that contains the archive, and the name of the archive. Each call follows the links in
// the path again.
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
	// A source may be given as the name of an archive of which only chunks exist.
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

// scanOnce scans the source once. If the source is a store, store is its published state.
func (s *source) scanOnce(ctx context.Context, now time.Time, store *journal.View) (sourceState, error) {
	dir, archive, err := s.findDirectory()
	var found volume.Found
	if err == nil {
		found, err = volume.FindArchives(dir)
	}
	found = s.selectFound(found, archive)
	if archive != "" && err == nil && len(found.Sets)+len(found.Problems) == 0 {
		err = fs.ErrNotExist
	}
	switch {
	case IsExhausted(err):
		return sourceState{}, err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errNotSource), errors.Is(err, syscall.ENOTDIR):
		return s.missingState(err), nil
	case errors.As(err, new(*volume.UnfinishedError)) && !s.scanned: // a pull was interrupted and cannot be completed
		return s.emptyState("incomplete", err, Problem{Kind: Incomplete, Path: dir, Reason: err.Error(), TagsUnknown: true}, dir), nil
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

// selectFound returns the part of found that is about archive. If archive is empty, it returns all
// of found or, with [Options.TreesOnly], nothing.
func (s *source) selectFound(found volume.Found, archive string) volume.Found {
	switch {
	case archive == "" && s.treesOnly:
		return volume.Found{Dir: found.Dir}
	case archive == "":
		return found
	}
	found.Sets = slices.DeleteFunc(slices.Clone(found.Sets), func(set volume.Set) bool { return set.Name != archive })
	found.Problems = slices.DeleteFunc(slices.Clone(found.Problems), func(p Problem) bool {
		name, _ := volume.IsArchive(p.Path)
		return name != archive
	})
	return found
}

// emptyState returns the state of a source from which nothing is served.
func (s *source) emptyState(state string, cause error, p Problem, dirs ...string) sourceState {
	status := SourceStatus{Path: s.path, Kind: s.kind(), State: state, Detail: cause.Error()}
	return sourceState{dirs: dirs, problems: []Problem{p}, archives: []*volumeState{{status: status}}}
}

// missingState returns the state of a source that no longer exists.
func (s *source) missingState(err error) sourceState {
	return s.emptyState("missing", err, Problem{Kind: Incomplete, Path: s.path, Reason: "the source no longer exists: its repositories are not served"})
}

// failingState returns a source's last state, with the problem that it cannot be scanned now.
func (s *source) failingState(err error) sourceState {
	if s.key != s.last.inventory.key() {
		return s.refusedState(s.path, err) // the last state was not verified with this key
	}
	next := s.last
	next.failed = err
	next.problems = []Problem{{Kind: Damaged, Path: s.path, Reason: fmt.Sprintf("%v: the last good state is still served", err)}}
	next.again = 0
	return next
}

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
	switch {
	case IsExhausted(err):
		return nil, err
	case err != nil: // the directory was removed during the scan; the next scan reports it
		return cmp.Or(s.last.loose, h), nil
	}
	h.vol = vol
	listing, err := vol.Layouts(ctx)
	if err != nil {
		return nil, err
	}
	listing.Nested = s.dropOtherSources(dir, listing.Nested)
	if err := h.readLayouts(ctx, visibleLayouts(store, listing), s.last.looseOrEmpty().layouts); err != nil {
		return nil, err
	}
	next.dirs = append(next.dirs, listing.Dirs...)
	return h, nil
}

// dropOtherSources removes the problems of a file below dir if the file, its archive or its
// directory is also a source.
func (s *source) dropOtherSources(dir string, nested []Problem) []Problem {
	return slices.DeleteFunc(slices.Clone(nested), func(p Problem) bool {
		archive, _ := volume.IsArchive(path.Base(p.Path))
		below := volume.JoinPath(dir, path.Dir(p.Path))
		return s.others[below] || s.others[volume.JoinPath(dir, p.Path)] || s.others[volume.JoinPath(below, archive)]
	})
}

// pathsOf returns the set of the paths of sources, cleaned like source.path.
func pathsOf(sources []string) map[string]bool {
	paths := make(map[string]bool, len(sources))
	for _, path := range sources {
		paths[volume.CleanPath(path)] = true
	}
	return paths
}

// openDirectory opens the directory again, because a link in its path may have changed. If it is
// still the same directory, openDirectory returns the previous volume.
func (s *source) openDirectory(dir string) (*volume.Dir, error) {
	vol, err := volume.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	vol.Observe(s.opened)
	if have, ok := s.last.looseOrEmpty().vol.(*volume.Dir); ok && vol.SameAs(have) {
		return have, vol.Close()
	}
	return vol, nil
}
