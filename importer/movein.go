package importer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/importer/publish"
)

// Copied is an archive, or a chunk of one, that was copied into the store and not moved.
type Copied struct {
	File   string `json:"file"` // outside of the store, where it stays
	Reason string `json:"reason"`
}

// inodeFacts are what decides whether a file may become one of the store by a link.
type inodeFacts struct {
	symlink bool        // the name is a symbolic link
	links   uint64      // names of the file; 0 where the system does not say
	mode    fs.FileMode // its permissions
	own     fs.FileMode // the permissions of a file that the store makes
	foreign bool        // another user owns it, and this process cannot change that
}

// readable are the permissions to read.
const readable fs.FileMode = 0o444

// whyCopy says why a link would leave the store with a file that is not its own: one that
// somebody can write by another name, or that a server may not read. It is empty where a
// link may be made.
func whyCopy(f inodeFacts) string {
	switch {
	case f.symlink:
		return "a symbolic link names it, and the file that it leads to stays where it is"
	case f.links > 1:
		return fmt.Sprintf("the file has %d names, and could be written by another one", f.links)
	case f.mode&f.own&readable != f.own&readable:
		return fmt.Sprintf("its mode is %v, and files of the store are %v", f.mode, f.own)
	case f.foreign:
		return "another user owns the file"
	}
	return ""
}

// factsOf finds the facts of a file of a bundle.
func (s *session) factsOf(name string) (inodeFacts, error) {
	own, err := s.ownMode()
	if err != nil {
		return inodeFacts{}, err
	}
	link, err := os.Lstat(name)
	if err != nil {
		return inodeFacts{}, err
	}
	f := inodeFacts{symlink: link.Mode()&fs.ModeSymlink != 0, mode: link.Mode().Perm(), own: own}
	f.links, f.foreign = ownership(link)
	return f, nil
}

// ownMode is the mode of the files that the store makes: 0644 without what the umask
// takes.
func (s *session) ownMode() (fs.FileMode, error) {
	f, err := s.store.CreateTemp()
	if err != nil {
		return 0, err
	}
	defer f.Discard()
	info, err := f.File().Stat()
	if err != nil {
		return 0, err
	}
	return info.Mode().Perm(), nil
}

// stageFileOf links a file of an archive into staging if the store is going to be the
// only one that has it, and else copies it and says why.
func (s *session) stageFileOf(ctx context.Context, name, to string) (reason string, err error) {
	facts, err := s.factsOf(name)
	if err != nil {
		return "", err
	}
	from, err := filepath.EvalSymlinks(name)
	if err != nil {
		return "", err
	}
	if reason = whyCopy(facts); reason == "" {
		err := s.store.LinkFrom(from, to)
		if err == nil {
			return "", nil
		}
		if !noLinks(err) {
			return "", err
		}
		reason = "the file cannot be linked into the store: " + cause(err)
	}
	return reason, s.copyFrom(ctx, from, to)
}

// cause is an error without the names of the files.
func cause(err error) string {
	var link *os.LinkError
	if errors.As(err, &link) {
		return link.Err.Error()
	}
	return err.Error()
}

// takeOwnership makes a file of the store its own, once its old name is gone: with the mode and the
// owner of what the store makes. Its group has what the mode gives all.
func (s *session) takeOwnership(name string, mode fs.FileMode) error {
	info, err := s.store.Root().Lstat(name)
	if err != nil {
		return err
	}
	if links, _ := ownership(info); links > 1 {
		return fmt.Errorf("the file has %d names", links)
	}
	if owned(info) && info.Mode().Perm() == mode {
		return nil
	}
	return s.store.TakeOwnership(name, mode)
}

// replaceByCopy gives the store a file of its own in the place of one whose old name cannot be
// removed.
func (s *session) replaceByCopy(ctx context.Context, outside, name string) error {
	to := publish.TemporaryPath("parted")
	if err := s.store.MkdirAll(path.Dir(to)); err != nil {
		return err
	}
	if err := s.store.RemoveAll(to); err != nil {
		return err
	}
	if err := s.copyFrom(ctx, outside, to); err != nil {
		return err
	}
	if err := s.store.SyncAll(); err != nil {
		return err
	}
	if err := s.store.Rename(to, name); err != nil {
		return err
	}
	return s.store.SyncDir(".")
}

// recordMoves records that the names which archives have outside of the store go, once it
// is of a generation. Files that were copied are not among them, and stay.
func (s *session) recordMoves(archives []*archive, generation uint64) (*moveRecord, error) {
	moves := &moveRecord{Generation: generation}
	for _, a := range archives {
		if sameDir(a.dir, s.store.Dir()) {
			continue
		}
		for _, file := range a.files {
			outside, err := filepath.Abs(filepath.Join(a.dir, file))
			if err != nil {
				return nil, err
			}
			info, err := os.Lstat(outside)
			if err != nil || !s.isLinkOf(info, publish.StagedPath(a.storeName(file)), a.storeName(file)) {
				continue
			}
			if f, ok := newMovedFile(outside, info); ok {
				f.Inside = fileName(a.storeName(file))
				moves.files = append(moves.files, f)
			}
		}
	}
	if len(moves.files) == 0 {
		return moves, nil
	}
	return moves, s.store.WriteFile(moveRecordFile, moves.write)
}

// isLinkOf says whether a file is one of those that have some names in the store.
func (s *session) isLinkOf(info fs.FileInfo, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		inside, err := s.store.Root().Lstat(name)
		return err == nil && os.SameFile(info, inside)
	})
}

// finishMoves does what an earlier process has recorded and not done: it removes the
// names that archives of the store have outside of it. Where the archives were not
// published after all, they keep them. copies says whether an archive whose old name
// cannot be removed is copied, which may take long.
func (s *session) finishMoves(ctx context.Context, copies bool) {
	record := filepath.Join(s.store.Dir(), moveRecordFile)
	moves, err := readMoveRecord(record)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		s.options.Log.Warn("archives that an interrupted import has moved into the store may have their old names still, as its record cannot be read: remove the record", zap.String("path", record), zap.Error(err))
	case moves.Generation > s.store.State().Generation:
		s.forgetMoves(moves)
	default:
		s.options.Log.Info("an earlier import was stopped while it moved archives into the store: doing the rest", zap.Int("files", len(moves.files)))
		s.removeMoved(ctx, moves, copies)
	}
}

// forgetMoves removes the record of moves of which nothing is left to do.
func (s *session) forgetMoves(moves *moveRecord) {
	dirs := map[string]bool{s.store.Dir(): true}
	for _, f := range moves.files {
		dirs[filepath.Dir(string(f.Name))] = true
	}
	publish.SyncNames(dirs)
	if err := s.store.Remove(moveRecordFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.options.Log.Warn("the record of archives that were moved into the store stays until the next import", zap.Error(err))
	}
}

// removeMoved removes the names that archives of the store have outside of it, and makes the
// files the store's own. What was copied stays where it is.
func (s *session) removeMoved(ctx context.Context, moves *moveRecord, copies bool) {
	if len(moves.files) == 0 {
		return
	}
	mode, err := s.ownMode()
	if err != nil {
		s.options.Log.Warn("the modes of archives in the store stay as they are", zap.Error(err))
	}
	done := true
	for _, f := range moves.files {
		if !s.removeMovedFile(ctx, f, mode, copies) {
			done = false
		}
	}
	if done {
		s.forgetMoves(moves)
	}
}

// beforeRemoval is called before a name outside of the store is removed.
func (s *session) beforeRemoval(name string) error {
	if s.options.Before == nil {
		return nil
	}
	return s.options.Before("remove packed", name)
}

// removeMovedFile removes the name of one file. It is false where there is something to be done
// with it still, later.
func (s *session) removeMovedFile(ctx context.Context, f movedFile, mode fs.FileMode, copies bool) bool {
	outside, inside := string(f.Name), string(f.Inside)
	info, err := os.Lstat(outside)
	gone := errors.Is(err, fs.ErrNotExist)
	if !gone && (err != nil || !f.is(info) || !s.isLinkOf(info, inside)) {
		return true // another file
	}
	if !gone {
		err := s.beforeRemoval(outside)
		if err == nil {
			err = os.Remove(outside)
		}
		if err != nil {
			s.options.Log.Warn("the archive is in the store, and its old name stays: the store gets a copy", zap.String("path", outside), zap.Error(err))
			if !copies {
				return false
			}
			if err := s.replaceByCopy(ctx, outside, inside); err != nil {
				s.options.Log.Error("the archive in the store can be written by its old name", zap.String("path", outside), zap.Error(err))
				return false
			}
			return true
		}
	}
	if info, err := s.store.Root().Lstat(inside); mode == 0 || err != nil || gone && !f.hasInode(info) {
		return true
	}
	if err := s.takeOwnership(inside, mode); err != nil {
		s.options.Log.Warn("the archive in the store keeps the mode and owner that it came with", zap.String("path", inside), zap.Error(err))
	}
	return true
}
