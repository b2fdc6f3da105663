package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// Publish moves staged files into the tree. Readers see either all changes or none. It returns the error of
// the context only if nothing was changed yet. Other errors are [UnfinishedError] and those of
// [journal.Journal.Check] and the file system.
func (s *Store) Publish(ctx context.Context, j *journal.Journal) error {
	if err := s.checkReadable(j); err != nil {
		return err
	}
	if err := s.stageIndexes(j); err != nil {
		return err
	}
	if err := s.SyncAll(); err != nil {
		return fmt.Errorf("syncing staged files: %w", err)
	}
	if err := ctx.Err(); err != nil { // last chance to stop before anything changes
		return err
	}
	p := newPublication(s, j)
	if err := p.writeJournal(); err != nil {
		return errors.Join(err, p.abandon())
	}
	if err := p.place(); err != nil {
		return errors.Join(fmt.Errorf("publishing: %w", err), p.abandon())
	}
	if err := p.finish(); err != nil {
		return err
	}
	var indexes int64
	for _, c := range j.Indexes {
		indexes += int64(len(c.Old) + len(c.New))
	}
	s.Reserve(indexes)
	return nil
}

// stageIndexes stages the new indexes. This happens before the journal is written, so that an error of a full
// disk leaves the store unchanged.
func (s *Store) stageIndexes(j *journal.Journal) error {
	for _, c := range j.Indexes {
		if err := s.stageFile(path.Join(c.Path, ocispec.ImageIndexFile), c.New); err != nil {
			return err
		}
		marker := path.Join(c.Path, ocispec.ImageLayoutFile)
		if _, err := s.root.Lstat(marker); errors.Is(err, fs.ErrNotExist) {
			if err := s.stageFile(marker, []byte(layoutMarker)); err != nil {
				return err
			}
		}
	}
	return nil
}

type publication struct {
	store   *Store
	journal *journal.Journal
	packed  map[string]bool // file names of the journal's archives

	made []string // directories that the method place has created, parents first

	placed []string // files that the method place has added
}

func newPublication(s *Store, j *journal.Journal) *publication {
	return &publication{store: s, journal: j, packed: filesOfPacked(j.Packed)}
}

func (p *publication) writeJournal() error {
	return p.store.WriteFile(journal.File, func(w io.Writer) error { _, err := p.journal.WriteTo(w); return err })
}

// isPacked reports whether a staged file is an archive or chunk that the store keeps packed.
func (p *publication) isPacked(at string) bool {
	archive, ok := volume.IsArchive(at)
	return ok && p.packed[archive]
}

func filesOfPacked(all []journal.Packed) map[string]bool {
	files := make(map[string]bool, len(all))
	for _, k := range all {
		files[k.File] = true
	}
	return files
}

// place moves the staged blobs into the tree. This can be undone, because readers do not see the
// blobs before an index leads to them.
func (p *publication) place() error {
	dirs := map[string]bool{}
	err := p.store.walkStaged(func(at string, dir bool) error {
		if !dir {
			if path.Base(at) == ocispec.ImageIndexFile || p.isPacked(at) {
				return nil
			}
			_, err := p.store.root.Lstat(at)
			if err := p.store.Rename(StagedPath(at), at); err != nil {
				return err
			}
			if err != nil { // the file is new; a repaired blob is not recorded, because undo must not remove it
				p.placed = append(p.placed, at)
			}
			dirs[path.Dir(at)] = true
			return nil
		}
		if info, err := p.store.root.Stat(at); err == nil && info.IsDir() {
			return nil
		}
		if err := p.store.MkdirAll(at); err != nil {
			return err
		}
		p.made = append(p.made, at)
		dirs[path.Dir(at)] = true
		return nil
	})
	if err != nil {
		return err
	}
	return p.store.syncDirs(dirs)
}

// undo moves the files in p.placed back to staging, and removes the directories in p.made. If undo stops half
// way, the next [Open] completes the publication with the staged blobs. undo syncs its changes to disk.
// Otherwise, a power cut could reverse these changes after the journal is removed.
func (p *publication) undo() error {
	var failed error
	dirs := map[string]bool{}
	for _, name := range slices.Backward(p.placed) {
		failed = errors.Join(failed, p.store.Rename(name, StagedPath(name)))
		dirs[path.Dir(name)] = true
	}
	if failed != nil {
		return failed
	}
	for _, name := range slices.Backward(p.made) {
		failed = errors.Join(failed, p.store.Remove(name))
		delete(dirs, name)
		dirs[path.Dir(name)] = true
	}
	if failed != nil {
		return failed
	}
	return p.store.syncDirs(dirs)
}

// abandon ends a publication before it has changed an index. It calls undo, and removes the journal.
func (p *publication) abandon() error {
	err := p.undo()
	if err == nil {
		err = p.store.removeSynced(journal.File)
	}
	if err != nil {
		return &UnfinishedError{Err: err}
	}
	return nil
}

// removeSynced removes a file, and syncs its directory to disk. A missing file is no error.
func (s *Store) removeSynced(name string) error {
	err := s.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.SyncDir(path.Dir(name))
}

// placePacked moves the archives into place. This is never undone. Otherwise, a reader that missed the
// journal would see an archive appear and disappear again.
func (p *publication) placePacked(dirs map[string]bool) error {
	return p.store.walkStaged(func(at string, dir bool) error {
		if dir || !p.isPacked(at) {
			return nil
		}
		dirs[path.Dir(at)] = true
		return p.store.Rename(StagedPath(at), at)
	})
}

func (p *publication) finish() error {
	err := p.commit()
	if err == nil {
		err = p.store.removeSynced(journal.File)
	}
	if err != nil {
		return p.unfinished(err)
	}
	return nil
}

// commit moves the new indexes and archives into place. Then it writes the state, which makes them
// visible to readers. It can be repeated after an error.
func (p *publication) commit() error {
	dirs := map[string]bool{}
	for _, c := range p.journal.Indexes {
		if err := p.replaceIndex(c); err != nil {
			return err
		}
		dirs[c.Path] = true
	}
	if err := p.placePacked(dirs); err != nil {
		return err
	}
	if err := p.store.syncDirs(dirs); err != nil {
		return err
	}
	next := p.store.stateAfter(p.journal)
	if err := p.store.writeState(next); err != nil {
		return err
	}
	p.store.state = next
	return nil
}

// stateAfter returns the state that the store will have after a journal is published.
func (s *Store) stateAfter(j *journal.Journal) journal.State {
	if j.Prune != nil {
		return j.Prune.State
	}
	next := s.state
	next.Generation = j.Generation
	fresh := filesOfPacked(j.Packed)
	kept := slices.DeleteFunc(slices.Clone(next.Packed), func(old journal.Packed) bool { return fresh[old.File] })
	next.Packed = slices.Concat(kept, j.Packed)
	next.Pruned = withoutRevived(next.Pruned, j.Revived)
	for i := range next.Packed {
		next.Packed[i].There = false
	}
	return next
}

func withoutRevived(pruned, revived []journal.Pruned) []journal.Pruned {
	return slices.DeleteFunc(slices.Clone(pruned), func(p journal.Pruned) bool {
		return slices.ContainsFunc(revived, func(r journal.Pruned) bool { return r.Path == p.Path && r.Digest == p.Digest })
	})
}

// layoutMarker is the content of the oci-layout file of a new layout.
const layoutMarker = `{"imageLayoutVersion":"` + ocispec.ImageLayoutVersion + `"}`

// checkReadable returns an error if the journal or the new state is too large for readers or for the next
// import.
func (s *Store) checkReadable(j *journal.Journal) error {
	if err := j.Check(); err != nil {
		return err
	}
	data, err := encodeState(s.stateAfter(j))
	if err != nil {
		return err
	}
	return journal.CheckSize("the state of the store", int64(len(data)))
}

// replaceIndex moves one staged index into place. If a killed process has already moved it, replaceIndex
// makes sure that the index has the content in the journal. A prune stages no indexes, so it always uses the
// content in the journal.
func (p *publication) replaceIndex(c journal.IndexChange) error {
	name := path.Join(c.Path, ocispec.ImageIndexFile)
	if p.journal.Prune == nil {
		if err := p.store.Rename(StagedPath(name), name); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	fresh, err := c.NewBytes(context.Background()) // a publication cannot be cancelled anymore
	if err != nil {
		return err
	}
	if have, err := fs.ReadFile(p.store.root.FS(), name); err == nil && string(have) == string(fresh) {
		return nil
	}
	return p.store.WriteFile(name, bytesOf(fresh))
}

// UnfinishedError reports that a publication stopped half way. The next [Open] completes it with the staged
// files.
type UnfinishedError struct {
	Err       error
	Published bool // whether readers already see the new state
}

func (e *UnfinishedError) Unwrap() error { return e.Err }

func (e *UnfinishedError) Error() string {
	seen := "readers see the store as it was before"
	if e.Published {
		seen = "readers see the new state"
	}
	return "publishing stopped half way, and " + seen + "; the next import completes it: " + e.Err.Error()
}

// unfinished returns an [UnfinishedError] for err. It finds out whether readers already see the new state.
func (p *publication) unfinished(err error) error {
	state, readErr := journal.ReadState(p.store.dir)
	return &UnfinishedError{err, readErr == nil && state.Generation >= p.journal.Generation}
}

// recover completes the publication of a killed process, if there is a journal.
func (s *Store) recover() error {
	j, err := journal.Read(s.dir)
	if err != nil || j == nil {
		return err
	}
	p := newPublication(s, j)
	if err := s.SyncAll(); err != nil { // sync first, because the renames of the killed process may not be on disk yet
		return p.unfinished(err)
	}
	if j.Prune != nil {
		return p.finishPrune(slices.Clone(j.Prune.Removed))
	}
	if j.Generation <= s.state.Generation { // everything is published, but the journal still exists
		if err := s.removeSynced(journal.File); err != nil {
			return &UnfinishedError{err, true}
		}
		return s.Clear()
	}
	if err := p.place(); err != nil {
		return &UnfinishedError{Err: err}
	}
	if err := p.finish(); err != nil {
		return err
	}
	return s.Clear()
}
