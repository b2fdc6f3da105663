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

	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// SourceStatus is the state of a source, or of an archive that lies in one.
type SourceStatus struct {
	Path string `json:"path"`
	Kind string `json:"kind"` // "directory", "tar" or "chunks"
	// State is "ready"; "waiting", for an archive that is still being written;
	// "incomplete", for one that is not whole; "missing" or "failing".
	State        string `json:"state"`
	Repositories int    `json:"repositories"`
	Detail       string `json:"detail"`
}

// source is one SOURCE of the user's, and its state after the last scan. A scan
// makes a new state and leaves the old one as it was.
type source struct {
	path    string
	roots   []string        // of its own; none means the tree's
	others  map[string]bool // the paths of all sources
	cache   volume.Cache
	settle  time.Duration
	opened  func(fs.FileInfo) // of Options
	unread  func(fs.FileInfo) // of Options
	scanned bool              // at least once
	last    sourceState       // that the last scan found
}

type sourceState struct {
	archives []*held // in the order of [CompareArchives]
	loose    *held   // the directory's own tree; nil where the source is an archive
	problems []Problem
	failed   error         // of the last look; the rest is of an earlier one then
	dirs     []string      // in which a change may be one of the source
	again    time.Duration // when to look again without being told; 0 is never
}

// held is one volume of a source, and what the last look at it found.
type held struct {
	vol      volume.Volume // nil while an archive is waiting
	parts    []*part       // by path
	problems []Problem
	status   SourceStatus

	name     string // of an archive
	identity string // of its files
	written  string // of its files
	seen     time.Time
	unread   bool // they could not be read: to be tried again at each look
	moved    bool // a file was replaced, or its links changed, between two steps of the look
}

// volumes are in the order of their union.
func (st *sourceState) volumes() []*held {
	if st.loose == nil {
		return st.archives
	}
	return append(slices.Clip(st.archives), st.loose)
}

// status is that of one of the volumes.
func (st *sourceState) status(h *held) SourceStatus {
	if st.failed == nil {
		return h.status
	}
	failing := *h
	failing.fail(st.failed)
	return failing.status
}

// errNotSource says that a source is something else than it may be.
var errNotSource = errors.New("neither a directory nor a .tar archive nor a chunk of one (NAME.tar.0000.chunk)")

// openSource makes a source of a path at which there has to be one.
func openSource(path string, o Options) (*source, error) {
	roots := o.SourceRoots[path]
	path = filepath.Clean(path)
	s := &source{path: path, roots: roots, others: pathsOf(o.Sources), cache: volume.Cache(o.CacheDir), settle: o.Settle, opened: o.Opened, unread: o.Unread}
	dir, archive, err := s.find()
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
	if found = only(found, archive); archive != "" && len(found.Sets) == 0 {
		err := fs.ErrNotExist
		if len(found.Problems) > 0 {
			err = found.Problems[0].Cause()
		}
		return nil, sourceError(path, err)
	}
	return s, nil
}

// sourceError says what is wrong with a source, without the name of the system call.
func sourceError(path string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return fmt.Errorf("source %s: %w", path, err)
}

// find says which directory the source is, or in which it lies if it is an
// archive. Links in its path are followed anew each time.
func (s *source) find() (dir, archive string, err error) {
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
	// A chunk set may go by the name of the archive that its chunks are of.
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

// look looks at the source once; store is its state if it is a store.
func (s *source) look(ctx context.Context, now time.Time, store *journal.View) (sourceState, error) {
	dir, archive, err := s.find()
	var found volume.Found
	if err == nil {
		found, err = volume.FindArchives(dir)
	}
	found = only(found, archive)
	if archive != "" {
		if err == nil && len(found.Sets) == 0 && len(found.Problems) == 0 {
			err = fs.ErrNotExist
		}
	}
	switch {
	case IsExhausted(err):
		return sourceState{}, err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errNotSource), errors.Is(err, syscall.ENOTDIR):
		return s.gone(err), nil
	case errors.As(err, new(*volume.UnfinishedError)) && !s.scanned:
		return s.unfinished(dir, err), nil
	case err != nil:
		return s.failing(err), nil
	}
	next := sourceState{dirs: []string{dir}}
	if store != nil {
		next.dirs = append(next.dirs, filepath.Join(dir, journal.Dir))
	}
	if err := s.scanArchives(ctx, &next, visibleArchives(store, found), store, now); err != nil {
		return sourceState{}, err
	}
	if archive == "" {
		if next.loose, err = s.scanLoose(ctx, &next, dir, store); err != nil {
			return sourceState{}, err
		}
	}
	return next, nil
}

// only is what was found of one archive, or all of it where none is named.
func only(found volume.Found, archive string) volume.Found {
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

// gone is the state of a source that is not there any more.
func (s *source) gone(err error) sourceState {
	return sourceState{
		problems: []Problem{{Kind: Incomplete, Path: s.path, Reason: "the source is gone: its repositories are not served"}},
		archives: []*held{{status: SourceStatus{Path: s.path, Kind: s.kind(), State: "missing", Detail: err.Error()}}},
	}
}

// unfinished is the state of a source of which a part was replaced, and the rest cannot be.
func (s *source) unfinished(dir string, err error) sourceState {
	return sourceState{
		dirs:     []string{dir},
		problems: []Problem{{Kind: Incomplete, Path: dir, Reason: err.Error(), TagsUnknown: true}},
		archives: []*held{{status: SourceStatus{Path: s.path, Kind: s.kind(), State: "incomplete", Detail: err.Error()}}},
	}
}

// failing is the state of a source that cannot be looked at: as it was, and a problem.
func (s *source) failing(err error) sourceState {
	next := s.last
	next.failed = err
	next.problems = []Problem{{Kind: Damaged, Path: s.path, Reason: fmt.Sprintf("%v: what was there before is still served", err)}}
	next.again = 0
	return next
}

func (h *held) fail(err error) { h.status.State, h.status.Detail = "failing", err.Error() }

func (s *source) kind() string {
	if name, ok := volume.IsArchive(filepath.Base(s.path)); ok {
		if name != filepath.Base(s.path) {
			return "chunks"
		}
		return "tar"
	}
	return "directory"
}

// scanLoose looks at the layouts that lie unpacked in the directory.
func (s *source) scanLoose(ctx context.Context, next *sourceState, dir string, store *journal.View) (*held, error) {
	h := &held{status: SourceStatus{Path: s.path, Kind: "directory", State: "ready"}}
	vol, err := s.reopen(dir)
	if IsExhausted(err) {
		return nil, err
	}
	if err != nil {
		if s.last.loose == nil {
			return h, nil // it went between two looks; the next one will tell
		}
		return s.last.loose, nil
	}
	h.vol = vol
	var old []*part
	if s.last.loose != nil {
		old = s.last.loose.parts
	}
	listing, err := vol.Layouts(ctx)
	if err != nil {
		return nil, err
	}
	listing.Nested = slices.DeleteFunc(listing.Nested, func(p Problem) bool { return s.readsElsewhere(filepath.Join(dir, p.Path)) })
	if err := h.read(ctx, visibleLayouts(store, listing), old); err != nil {
		return nil, err
	}
	next.dirs = append(next.dirs, listing.Dirs...)
	return h, nil
}

// readsElsewhere says whether an archive below the top of the source is read all the
// same: it, or its directory, is a source of its own.
func (s *source) readsElsewhere(file string) bool {
	archive, _ := volume.IsArchive(filepath.Base(file))
	dir := filepath.Dir(file)
	return s.others[dir] || s.others[file] || s.others[filepath.Join(dir, archive)]
}

// pathsOf are the paths of sources, as a source has them.
func pathsOf(sources []string) map[string]bool {
	paths := make(map[string]bool, len(sources))
	for _, path := range sources {
		paths[filepath.Clean(path)] = true
	}
	return paths
}

// reopen opens the directory anew, as its path may be a link that was set to
// another one, and returns the volume we have if it is the same still.
func (s *source) reopen(dir string) (*volume.Dir, error) {
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
