package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"syscall"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// Prune publishes the journal of a prune: it replaces indexes in place, moves rewritten archives
// out of staging, writes the state in the journal, and removes files that no reader sees any
// more. Everything else in staging stays, as an interrupted import resumes from it.
//
// On a full disk it first uses the space that [Store.Reserve] has set aside. If that is not
// enough, it removes the files that the journal lists before the indexes are in place, one by
// one in their order. Errors: those of [journal.Journal.Check]; the context's, if nothing was
// changed yet; [UnfinishedError]; the file system's.
func (s *Store) Prune(ctx context.Context, j *journal.Journal) error {
	if err := s.checkReadable(j); err != nil {
		return err
	}
	if len(j.Packed) > 0 {
		if err := s.SyncAll(); err != nil {
			return fmt.Errorf("syncing staged files: %w", err)
		}
	}
	if err := ctx.Err(); err != nil { // the last moment at which nothing has changed
		return err
	}
	p := &publication{store: s, journal: j}
	victims := slices.Clone(j.Prune.Removed)
	write := func(w io.Writer) error { _, err := j.WriteTo(w); return err }
	if err := s.withSpace(&victims, func() error { return s.WriteFile(journal.File, write) }); err != nil {
		return errors.Join(err, s.abandon(nil))
	}
	return p.finishPrune(victims)
}

// finishPrune carries out the journal of a prune, also one that a killed process wrote.
func (p *publication) finishPrune(victims []string) error {
	s := p.store
	if p.journal.Generation > s.state.Generation {
		if err := s.withSpace(&victims, p.commitPrune); err != nil {
			return p.unfinished(err)
		}
	}
	if err := p.removeFiles(); err != nil {
		return p.unfinished(err)
	}
	if next := withoutDropped(s.state); len(next.Packed) < len(s.state.Packed) {
		if err := s.withSpace(&victims, func() error { return s.writeState(next) }); err != nil {
			return p.unfinished(err)
		}
		s.state = next
	}
	if err := s.removeJournal(); err != nil {
		return p.unfinished(err)
	}
	for _, dir := range []string{temporary, stagedTree, staging} {
		_ = s.root.Remove(dir) // if it is empty
	}
	return nil
}

// commitPrune puts the new indexes and archives in place and writes the state, which makes
// readers see them. It can be repeated.
func (p *publication) commitPrune() error {
	dirs := map[string]bool{}
	for _, c := range p.journal.Indexes {
		name := path.Join(c.Path, ocispec.ImageIndexFile)
		fresh, err := c.NewBytes(context.Background()) // a publication that has begun is completed
		if err != nil {
			return err
		}
		if have, err := fs.ReadFile(p.store.root.FS(), name); err == nil && string(have) == string(fresh) {
			continue
		}
		if err := p.store.WriteFile(name, bytesOf(fresh)); err != nil {
			return err
		}
	}
	if err := p.placePacked(dirs); err != nil {
		return err
	}
	if err := p.store.syncDirs(dirs); err != nil {
		return err
	}
	if err := p.store.writeState(p.journal.Prune.State); err != nil {
		return err
	}
	p.store.state = p.journal.Prune.State
	return nil
}

// removeFiles removes the files of the journal. Directories are synced before the journal goes:
// a crash cannot bring a file back that nothing removes any more.
func (p *publication) removeFiles() error {
	dirs := map[string]bool{}
	for _, name := range p.journal.Prune.Removed {
		err := p.store.Remove(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		dirs[path.Dir(name)] = true
	}
	return p.store.syncDirs(dirs)
}

// withoutDropped returns a state without the archives whose files were removed.
func withoutDropped(s journal.State) journal.State {
	s.Packed = slices.DeleteFunc(slices.Clone(s.Packed), func(p journal.Packed) bool { return p.Dropped })
	return s
}

// withSpace repeats do while the disk is full, each time with more space: it gives up the
// reserve, then the victims. They are files that the journal removes anyway.
func (s *Store) withSpace(victims *[]string, do func() error) error {
	reserve := true
	for {
		err := do()
		if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
			return err
		}
		switch {
		case reserve:
			reserve = false
			_ = s.root.Remove(reserveFile) // if it does not exist, a victim goes next
		case len(*victims) > 0:
			if failed := s.Remove((*victims)[0]); failed != nil && !errors.Is(failed, fs.ErrNotExist) {
				return errors.Join(err, failed)
			}
			*victims = (*victims)[1:]
		default:
			return err
		}
	}
}

// reserveFile takes up space so that a prune can write its journal when the disk is full.
const reserveFile = journal.Dir + "/reserve"

// Sizes of the reserve, in bytes.
const (
	minReserve = 128 << 10
	maxReserve = 64 << 20
)

// Reserve sets space aside for the journal of a prune that changes indexes of so many bytes. It
// reports no failure: without the reserve, a prune on a full disk removes files earlier. A
// reserve that is large enough is kept.
func (s *Store) Reserve(indexes int64) {
	want := min(max(minReserve, 2*indexes+minReserve/2), maxReserve)
	if info, err := s.root.Lstat(reserveFile); err == nil && info.Size() >= want {
		return
	}
	f, err := s.root.Create(reserveFile)
	if err != nil {
		return
	}
	// Not zeros, which a copy of the store could leave out.
	block := make([]byte, 64<<10)
	for i := range block {
		block[i] = byte(i) | 1
	}
	for written := int64(0); written < want && err == nil; written += int64(len(block)) {
		_, err = f.Write(block)
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		_ = s.root.Remove(reserveFile)
	}
}

// nextState returns the state of the store after a journal is published.
func (s *Store) nextState(j *journal.Journal) journal.State {
	if j.Prune != nil {
		return j.Prune.State
	}
	return s.stateAfter(j)
}

// size returns the bytes of a state as they are written.
func size(state journal.State) (int64, error) {
	data, err := json.Marshal(state)
	return int64(len(data)) + 1, err
}
