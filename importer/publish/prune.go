package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"syscall"

	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// Prune publishes the journal of a prune: it replaces indexes in place, moves rewritten archives
// out of staging, writes the state in the journal, and removes files that readers no longer see.
// Other files stay in staging, as an interrupted import resumes from them.
//
// On a full disk it first uses the space that [Store.Reserve] has set aside. If that is not
// enough, it removes the files that the journal lists, one by one in their order, before the
// indexes are in place. Errors: those of [journal.Journal.Check]; the context's, if nothing was
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
	if err := ctx.Err(); err != nil { // the last chance to stop before anything changes
		return err
	}
	p := newPublication(s, j)
	victims := slices.Clone(j.Prune.Removed)
	if err := s.withSpace(&victims, p.writeJournal); err != nil {
		return errors.Join(err, p.abandon())
	}
	return p.finishPrune(victims)
}

// finishPrune carries out the journal of a prune, also one that a killed process wrote.
func (p *publication) finishPrune(victims []string) error {
	s := p.store
	if p.journal.Generation > s.state.Generation {
		if err := s.withSpace(&victims, p.commit); err != nil {
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
	if err := s.removeSynced(journal.File); err != nil {
		return p.unfinished(err)
	}
	for _, dir := range []string{temporary, stagedTree, staging} {
		_ = s.root.Remove(dir) // if it is empty
	}
	return nil
}

// removeFiles removes the files that the journal lists, and syncs their directories: otherwise a
// crash could bring a file back after the journal is removed.
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

// withSpace repeats do while the disk is full. Before each repetition it frees space: it removes the
// reserve, then the victims one by one, which are files that the journal removes anyway.
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
			_ = s.root.Remove(reserveFile) // if that fails, the next repetition removes a victim
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

// reserveFile occupies space that a prune needs to write its journal when the disk is full.
const reserveFile = journal.Dir + "/reserve"

// Sizes of the reserve, in bytes.
const (
	minReserve = 128 << 10
	maxReserve = 64 << 20
)

// Reserve sets space aside for the journal of a prune that changes indexes with this number of
// bytes. It keeps a reserve that is large enough. It ignores errors: without the reserve, a prune
// on a full disk removes files earlier.
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
