package layoutstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// The files of a store beside its layouts. They are paths below the store.
const (
	StoreDir    = ".layoutproxy"
	StoreFile   = StoreDir + "/store.json" // a Store: what makes a directory one
	JournalFile = StoreDir + "/journal"    // a Journal, while an import is published
)

// StoreFormat is the version of the files in StoreDir that this program knows.
const StoreFormat = 1

// Store is the state of a store: a tree of layouts into which bundles are imported,
// each import a generation that readers see wholly or not at all.
type Store struct {
	Format     int      `json:"format"`
	Generation uint64   `json:"generation"` // of the last import; 0 before the first
	Packed     []Packed `json:"packed,omitempty"`
}

// Packed is an archive that lies in a store as it came.
type Packed struct {
	File       string `json:"file"` // NAME.tar in the store, of a chunk set as well
	Name       string `json:"name"` // that it came under
	Generation uint64 `json:"generation"`
	// There says, in a journal, that the archive lay in the store before, where somebody
	// put it by hand: readers have seen it all the time.
	There bool `json:"there,omitempty"`
}

// ErrNotStore says that a directory is no store.
var ErrNotStore = errors.New("not a store")

// maxStoreFile bounds what is read of a store's own files.
const maxStoreFile = 1 << 30

// ReadStore reads the state of the store at dir. Errors: ErrNotStore; the file
// system's; that the state is none, or one of a later version.
func ReadStore(dir string) (Store, error) {
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return Store{}, fmt.Errorf("%s: %w", dir, ErrNotStore)
	}
	data, _, err := readStoreFile(dir, StoreFile)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return Store{}, fmt.Errorf("%s: %w", dir, ErrNotStore)
	}
	var s Store
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err == nil {
		err = checkFormat(s.Format)
	}
	if err != nil {
		return Store{}, fmt.Errorf("the state of the store, %s: %w", path.Join(dir, StoreFile), err)
	}
	return s, nil
}

func checkFormat(format int) error {
	if format != StoreFormat {
		return fmt.Errorf("format %d, this program knows format %d", format, StoreFormat)
	}
	return nil
}

// readStoreFile reads a file of a store, and says which one it was.
func readStoreFile(dir, name string) ([]byte, fs.FileInfo, error) {
	f, err := plainfile.OpenInDir(dir, name)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxStoreFile {
		return nil, nil, fmt.Errorf("%s: no file of a store", name)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxStoreFile))
	return data, info, err
}

// storeView is the state of a store that a scan goes by. Nil is that of a source
// that is no store.
type storeView struct {
	Store
	journal *standing // nil where no import is being published
}

// viewStore decides which state of a store a reader sees at dir: for loose indexes and
// for packed archives, the one before the import that is being published. That import
// counts from when the state has its generation: a journal that is not of a later one
// hides nothing, and only waits to be removed.
func viewStore(dir string) (*storeView, error) {
	s, err := ReadStore(dir)
	if errors.Is(err, ErrNotStore) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	j, err := readStanding(dir)
	if j != nil && j.Generation <= s.Generation {
		j = nil
	}
	return &storeView{s, j}, err
}

// same says whether two looks saw one state.
func (v *storeView) same(other *storeView) bool {
	if v == nil || other == nil {
		return v == other
	}
	if v.Generation != other.Generation || (v.journal == nil) != (other.journal == nil) {
		return false
	}
	return v.journal == nil || v.journal.same(other.journal)
}

// Between two scans of a source in which something was published meanwhile, and how
// many there are: before the state that was there is kept, before files that come and go
// without a publication are taken for what they are, and before a file that is written to
// all the time is waited for.
const (
	storePause = 20 * time.Millisecond
	storeTries = 50
	quietTries = 10
	movedTries = 3
)

// seen is what a scan goes by: the state of a store, or of a directory that a pull
// writes to.
type seen struct {
	store *storeView
	mark  volume.Mark
}

func (s *source) see() (seen, error) {
	store, err := viewStore(s.path)
	if err != nil || store != nil {
		return seen{store: store}, err
	}
	dir, _, err := s.find()
	if err != nil {
		return seen{}, nil // the scan reports it
	}
	return seen{mark: volume.MarkOf(dir)}, nil
}

// scan looks at the source anew, until nothing was published there meanwhile. The error
// is the context's, or one that [Exhausted] knows: it says nothing of the source.
func (s *source) scan(ctx context.Context, now time.Time) (sourceState, error) {
	scanned := *s // what the scans before this one found, also one that is not good enough
	for try := 0; ; try++ {
		before, err := s.see()
		switch {
		case Exhausted(err):
			return sourceState{}, err
		case err != nil:
			return s.failing(err), nil
		}
		next, err := scanned.look(ctx, now, before.store)
		if err != nil {
			return sourceState{}, err
		}
		after, err := s.see()
		same := err == nil && before.store.same(after.store) && before.mark.Same(after.mark)
		quiet := before.mark.Quiet(after.mark) || try >= quietTries
		if same && quiet && (!next.moved() || try >= movedTries) {
			return next, nil
		}
		if try >= storeTries && s.scanned {
			next = s.sourceState
			next.again = time.Second
			return next, nil
		}
		if same && next.failed == nil { // what was read need not be read again
			scanned.archives = slices.DeleteFunc(slices.Clone(next.archives), func(h *held) bool { return h.moved })
		}
		select {
		case <-time.After(storePause):
		case <-ctx.Done():
			return sourceState{}, ctx.Err()
		}
	}
}

// moved says whether a file changed between two steps of the look.
func (st *sourceState) moved() bool {
	return slices.ContainsFunc(st.volumes(), func(h *held) bool { return h.moved })
}

// packedAs says under which name an archive came into the store, and in which
// generation: 0 for one that no import brought.
func (v *storeView) packedAs(file string) (name string, generation uint64) {
	if v == nil {
		return file, 0
	}
	for _, p := range v.Packed {
		if p.File == file {
			return p.Name, p.Generation
		}
	}
	return file, 0
}

// hides says whether an archive is one that the import brings which is being published.
func (v *storeView) hides(archive string) bool {
	if v.journal == nil {
		return false
	}
	_, before := v.packedAs(archive)
	return before == 0 && slices.ContainsFunc(v.journal.Packed, func(p Packed) bool { return p.File == archive && !p.There })
}

// archives are those to be read of what lies in the directory: without any that is
// being published.
func (v *storeView) archives(found volume.Found) volume.Found {
	if v == nil {
		return found
	}
	found.Sets = slices.DeleteFunc(slices.Clone(found.Sets), func(set volume.Set) bool { return v.hides(set.Name) })
	found.Faults = slices.DeleteFunc(slices.Clone(found.Faults), func(f volume.Fault) bool {
		name, _ := volume.IsArchive(f.Path)
		return v.hides(name)
	})
	for i := range found.Sets {
		found.Sets[i].As, _ = v.packedAs(found.Sets[i].Name)
	}
	return found
}

// layouts are those to be read of the loose tree: while an import is being published
// as they were before it.
func (v *storeView) layouts(listing volume.Listing) volume.Listing {
	if v == nil || v.journal == nil {
		return listing
	}
	var layouts []volume.Layout
	for _, l := range listing.Layouts {
		if old, ok := v.journal.old(l.Path); ok {
			if old == nil {
				continue
			}
			// Never a settled stamp: the file that is there now may be the new one.
			l.Index, l.Stamp = old, volume.Stamp{ID: "journal"}
		}
		layouts = append(layouts, l)
	}
	listing.Layouts = layouts
	listing.Faults = slices.DeleteFunc(slices.Clone(listing.Faults), func(f volume.Fault) bool {
		old, ok := v.journal.old(f.Path)
		return ok && old == nil
	})
	return listing
}
