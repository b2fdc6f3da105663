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

// Prune publishes the journal of a prune. It replaces indexes, moves rewritten archives out of
// staging, writes the new state, and removes files that readers no longer see. It keeps all other
// staged files, because an interrupted import resumes from them.
//
// If the disk is full, Prune first uses the space that [Store.Reserve] has set aside. If that is not enough,
// it removes the files that the journal lists, in their order, before it replaces the indexes. It returns the
// error of the context only if nothing was changed yet. Other errors are [UnfinishedError] and those of
// [journal.Journal.Check] and the file system.
func (s *Store) Prune(ctx context.Context, j *journal.Journal) error {
	if err := s.checkReadable(j); err != nil {
		return err
	}
	if len(j.Packed) > 0 {
		if err := s.SyncAll(); err != nil {
			return fmt.Errorf("syncing staged files: %w", err)
		}
	}
	if err := ctx.Err(); err != nil { // last chance to stop before anything changes
		return err
	}
	p := newPublication(s, j)
	victims := slices.Clone(j.Prune.Removed)
	if err := s.withSpace(&victims, p.writeJournal); err != nil {
		return errors.Join(err, p.abandon())
	}
	return p.finishPrune(victims)
}

// finishPrune carries out the journal of a prune. A killed process may have written the journal, and done a
// part of the work.
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
		_ = s.root.Remove(dir) // fails if the directory is not empty
	}
	return nil
}

// removeFiles removes the files that the journal lists, and syncs their directories. Otherwise, a removed
// file could exist again after a crash, when the journal is already gone.
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

// withoutDropped returns the state without the archives whose files have been removed.
func withoutDropped(s journal.State) journal.State {
	s.Packed = slices.DeleteFunc(slices.Clone(s.Packed), func(p journal.Packed) bool { return p.Dropped })
	return s
}

// withSpace repeats do while the disk is full. Before each repetition, it frees space: it removes
// first the reserve, and then one of the victims. These are files that the prune removes anyway.
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
			_ = s.root.Remove(reserveFile) // on error, the next repetition removes a victim
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

// reserveFile is a file that only occupies space. On a full disk, a prune removes it, so that it can write
// its journal.
const reserveFile = journal.Dir + "/reserve"

// Limits for the size of the reserve, in bytes.
const (
	minReserve = 128 << 10
	maxReserve = 64 << 20
)

// Reserve sets disk space aside for the journal of the next prune. indexes is the total size of the indexes
// that the prune may change, in bytes. Reserve keeps an existing reserve that is large enough. It ignores
// errors, because a prune works without a reserve, too.
func (s *Store) Reserve(indexes int64) {
	want := min(max(minReserve, 2*indexes+minReserve/2), maxReserve)
	if info, err := s.root.Lstat(reserveFile); err == nil && info.Size() >= want {
		return
	}
	f, err := s.root.Create(reserveFile)
	if err != nil {
		return
	}
	// Do not write zeros: a tool that copies the store might turn them into a hole, which occupies no space.
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
