package importer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// take makes a bundle part of the store.
func (s *store) take(ctx context.Context, b *bundle) (Report, error) {
	v, err := s.survey(ctx, b)
	if err != nil {
		return Report{}, err
	}
	if err := v.gaps.err(); err != nil && !s.AllowIncomplete {
		return Report{}, err
	}
	if err := v.findHeld(ctx); err != nil {
		return Report{}, err
	}
	if err := s.sweep(v.wantedBlobs()); err != nil {
		return Report{}, err
	}
	if err := v.enoughRoom(); err != nil {
		return Report{}, err
	}
	report := Report{Store: s.Store, Generation: s.state.Generation}
	if report.Blobs, err = v.stage(ctx); err != nil {
		return Report{}, err
	}
	changes, err := v.indexes(ctx, &report)
	if err != nil {
		return Report{}, err
	}
	report.Gaps = append([]layoutstore.Problem{}, v.gaps.all...)
	report.NonDistributable = append([]layoutstore.Problem{}, v.nonDistributable.all...)
	wanted := v.wantedBlobs()
	if len(v.gaps.all) > 0 {
		if err := s.sweep(wanted); err != nil {
			return Report{}, err
		}
	}
	if len(changes) == 0 && len(wanted) == 0 {
		return report, nil
	}
	if err := s.publish(ctx, &journal.Journal{Generation: s.state.Generation + 1, Indexes: changes}); err != nil {
		return Report{}, err
	}
	report.Generation, report.Changed = s.state.Generation, true
	return report, nil
}

// publish makes what is staged part of the tree, at once for who reads it.
func (s *store) publish(ctx context.Context, j *journal.Journal) error {
	if err := s.readable(j); err != nil {
		return err
	}
	if err := s.stageIndexes(j); err != nil {
		return err
	}
	if err := s.syncAll(); err != nil {
		return fmt.Errorf("writing out what is staged: %w", err)
	}
	if err := ctx.Err(); err != nil { // the last moment at which nothing has happened
		return err
	}
	write := func(f *output) error { _, err := j.WriteTo(f); return err }
	if err := s.publishFile(journal.File, write); err != nil {
		return errors.Join(err, s.abandon(nil))
	}
	p := &publication{store: s, journal: j}
	if err := p.place(); err != nil {
		return errors.Join(fmt.Errorf("publishing: %w", err), s.abandon(p))
	}
	if err := p.commit(); err != nil {
		return p.standing(err)
	}
	return nil
}

// stageIndexes writes what the journal will have put in place, while there may be no
// room for it.
func (s *store) stageIndexes(j *journal.Journal) error {
	for _, c := range j.Indexes {
		if err := s.stageFile(stagedPath(path.Join(c.Path, ocispec.ImageIndexFile)), c.New); err != nil {
			return err
		}
		marker := path.Join(c.Path, ocispec.ImageLayoutFile)
		if _, err := s.root.Lstat(marker); errors.Is(err, fs.ErrNotExist) {
			if err := s.stageFile(stagedPath(marker), layoutMarker()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *store) stageFile(name string, data []byte) error {
	if err := s.removeAll(name); err != nil {
		return err
	}
	if err := s.mkdirAll(path.Dir(name)); err != nil {
		return err
	}
	f, err := s.create(name)
	if err != nil {
		return err
	}
	return errors.Join(bytesOf(data)(f), f.Close())
}

// sweep removes all from staging but the blobs that are wanted: what an import
// before this one has left, or what this one does not publish after all. Directories
// that are empty then go too: they would be published, as layouts without an index.
func (s *store) sweep(wanted map[string]bool) error {
	var dirs []string
	err := s.staged(func(at string, dir bool) error {
		if dir {
			dirs = append(dirs, at)
			return nil
		}
		if wanted[at] {
			return nil
		}
		return s.remove(stagedPath(at))
	})
	if err != nil {
		return err
	}
	for _, at := range slices.Backward(dirs) {
		if entries, err := fs.ReadDir(s.root.FS(), stagedPath(at)); err != nil || len(entries) > 0 {
			continue
		}
		if err := s.remove(stagedPath(at)); err != nil {
			return err
		}
	}
	return nil
}

// staged visits what is staged for the tree: each directory before what is in it.
func (s *store) staged(visit func(at string, dir bool) error) error {
	err := fs.WalkDir(s.root.FS(), stagedTree, func(name string, e fs.DirEntry, err error) error {
		if err != nil || name == stagedTree {
			return err
		}
		return visit(strings.TrimPrefix(name, stagedTree+"/"), e.IsDir())
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// publication is a journal that stands, on its way into the tree.
type publication struct {
	*store
	journal *journal.Journal
	made    []string        // directories, outer ones first
	placed  []string        // files
	packed  map[string]bool // archives of the journal, by name; made when it is asked for
}

// isPacked says whether a staged file belongs to an archive that is kept as it is.
func (p *publication) isPacked(at string) bool {
	archive, ok := volume.IsArchive(at)
	if p.packed == nil {
		p.packed = filesOfPacked(p.journal.Packed)
	}
	return ok && p.packed[archive]
}

func filesOfPacked(all []journal.Packed) map[string]bool {
	files := make(map[string]bool, len(all))
	for _, k := range all {
		files[k.File] = true
	}
	return files
}

// place moves each staged blob into its place. Readers do not see any of it: no index
// names a new blob, and a new layout has no index yet. So it can be undone.
func (p *publication) place() error {
	dirs := map[string]bool{}
	err := p.staged(func(at string, dir bool) error {
		if !dir {
			if path.Base(at) == ocispec.ImageIndexFile || p.isPacked(at) {
				return nil
			}
			_, err := p.root.Lstat(at)
			if err := p.rename(stagedPath(at), at); err != nil {
				return err
			}
			if err != nil { // one that was repaired stays
				p.placed = append(p.placed, at)
			}
			dirs[path.Dir(at)] = true
			return nil
		}
		if info, err := p.root.Stat(at); err == nil && info.IsDir() {
			return nil
		}
		if err := p.mkdirAll(at); err != nil {
			return err
		}
		p.made = append(p.made, at)
		dirs[path.Dir(at)] = true
		return nil
	})
	if err != nil {
		return err
	}
	return p.syncDirs(dirs)
}

// undo takes back what place did.
func (p *publication) undo() error {
	var failed error
	for _, name := range slices.Backward(p.placed) {
		failed = errors.Join(failed, p.remove(name))
	}
	for _, name := range slices.Backward(p.made) {
		failed = errors.Join(failed, p.remove(name))
	}
	return failed
}

// abandon removes the journal before any index has changed, and what was placed.
func (s *store) abandon(p *publication) error {
	if p != nil {
		if err := p.undo(); err != nil {
			return &standingError{error: err}
		}
	}
	if err := s.removeJournal(); err != nil {
		return &standingError{error: err}
	}
	return nil
}

func (s *store) removeJournal() error {
	err := s.remove(journal.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.syncDir(journal.Dir)
}

// placePacked moves the archives into their place. Without the journal readers would
// see them there, so this is never undone: a reader that looked before the journal and
// after it was removed could not know.
func (p *publication) placePacked(dirs map[string]bool) error {
	return p.staged(func(at string, dir bool) error {
		if dir || !p.isPacked(at) {
			return nil
		}
		dirs[path.Dir(at)] = true
		return p.rename(stagedPath(at), at)
	})
}

// commit puts the new indexes and archives in place, then the generation, with which
// readers see them, and removes the journal.
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
	if err := p.syncDirs(dirs); err != nil {
		return err
	}
	next := p.after(p.journal)
	if err := p.publishFile(journal.StateFile, storeJSON(next)); err != nil {
		return err
	}
	p.state = next
	return p.removeJournal()
}

// after is the state of the store when a journal is published.
func (s *store) after(j *journal.Journal) journal.State {
	next := s.state
	next.Generation = j.Generation
	fresh := filesOfPacked(j.Packed)
	kept := slices.DeleteFunc(slices.Clone(next.Packed), func(old journal.Packed) bool { return fresh[old.File] })
	next.Packed = slices.Concat(kept, j.Packed)
	for i := range next.Packed {
		next.Packed[i].There = false
	}
	return next
}

// readable fails where readers could not read what a journal publishes, or the next
// import could not finish it.
func (s *store) readable(j *journal.Journal) error {
	if err := j.Check(); err != nil {
		return err
	}
	state, err := json.Marshal(s.after(j))
	if err != nil {
		return err
	}
	return journal.CheckSize("the state of the store", int64(len(state))+1)
}

// replaceIndex puts one new index in place: the one that is staged, or what the
// journal says where a process that was killed has done so or was about to.
func (p *publication) replaceIndex(c journal.IndexChange) error {
	name := path.Join(c.Path, ocispec.ImageIndexFile)
	err := p.rename(stagedPath(name), name)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fresh, err := c.NewBytes()
	if err != nil {
		return err
	}
	if have, err := fs.ReadFile(p.root.FS(), name); err == nil && string(have) == string(fresh) {
		return nil
	}
	return p.publishFile(name, bytesOf(fresh))
}

// standingError says that the journal could not be finished: staging is still needed.
type standingError struct {
	error
	published bool // readers see the new state
}

func (e *standingError) Unwrap() error { return e.error }

func (e *standingError) Error() string {
	seen := "readers see the store as it was before"
	if e.published {
		seen = "readers see the new state"
	}
	return "publishing stopped half way, and " + seen + "; the next import finishes it: " + e.error.Error()
}

// standing says what readers see after commit failed.
func (p *publication) standing(err error) error {
	state, readErr := journal.ReadState(p.Store)
	return &standingError{err, readErr == nil && state.Generation >= p.journal.Generation}
}

// recover finishes what stands in the journal.
func (s *store) recover() error {
	j, err := journal.Read(s.dir)
	if err != nil || j == nil {
		return err
	}
	if j.Generation <= s.state.Generation { // all was done but to remove it
		if err := s.removeJournal(); err != nil {
			return &standingError{err, true}
		}
		return s.clear()
	}
	p := &publication{store: s, journal: j}
	if err := p.place(); err != nil {
		return &standingError{error: err}
	}
	if err := p.commit(); err != nil {
		return p.standing(err)
	}
	return s.clear()
}
