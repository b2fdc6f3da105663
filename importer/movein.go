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

// Copied is a tar file or a chunk that was copied into the store instead of moved.
type Copied struct {
	File   string `json:"file"` // path of the file outside of the store, where it stays
	Reason string `json:"reason"`
}

// inodeFacts decide whether the store may hard-link a file or must copy it.
type inodeFacts struct {
	// symlink means that the name is a symbolic link.
	symlink bool
	// links is the number of hard links, or 0 if it is unknown.
	links uint64
	mode  fs.FileMode
	// own contains the permissions of files that the store creates.
	own fs.FileMode
	// foreign means that another user owns the file, and this process cannot change the owner.
	foreign bool
}

const readable fs.FileMode = 0o444

// whyCopy returns the reason why a file must be copied: it could be changed through another name,
// or a server could be unable to read it. If a hard link is safe, whyCopy returns the empty string.
func whyCopy(f inodeFacts) string {
	switch {
	case f.symlink:
		return "it is a symbolic link"
	case f.links > 1:
		return fmt.Sprintf("the file has %d hard links, so it could be changed through another name", f.links)
	case f.mode&f.own&readable != f.own&readable:
		return fmt.Sprintf("its mode is %v, but files in the store need %v", f.mode, f.own)
	case f.foreign:
		return "another user owns the file"
	}
	return ""
}

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

// ownMode returns the permissions of files that the store creates: 0644 minus the umask.
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

// stageFileOf hard-links a file of an archive into staging if this is safe (see whyCopy) and possible.
// Otherwise, it copies the file and returns the reason.
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

// cause returns the cause of an error, without names of files.
func cause(err error) string {
	var link *os.LinkError
	if errors.As(err, &link) {
		return link.Err.Error()
	}
	return err.Error()
}

// takeOwnership gives a file in the store the mode and owner of the store's files, after the file's
// old name was removed.
func (s *session) takeOwnership(name string, info fs.FileInfo, mode fs.FileMode) error {
	if links, _ := ownership(info); links > 1 {
		return fmt.Errorf("the file still has %d hard links", links)
	}
	if owned(info) && info.Mode().Perm() == mode {
		return nil
	}
	return s.store.TakeOwnership(name, mode)
}

// replaceByCopy replaces a file in the store with a copy, because the file's old name outside of
// the store cannot be removed.
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

// recordMoves records the names outside of the store that will be removed once the store reaches the given
// generation. It records no names of copied files, which stay in place.
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
			if f, ok := publish.NewMovedFile(outside, info); ok {
				f.Inside = publish.FileName(a.storeName(file))
				moves.files = append(moves.files, f)
			}
		}
	}
	if len(moves.files) == 0 {
		return moves, nil
	}
	return moves, s.store.WriteFile(moveRecordFile, moves.write)
}

func (s *session) isLinkOf(info fs.FileInfo, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		inside, err := s.store.Root().Lstat(name)
		return err == nil && os.SameFile(info, inside)
	})
}

// finishMoves completes the moves that an earlier process recorded: it removes the old names of
// published archives. If an old name cannot be removed, and the parameter copies is true,
// finishMoves replaces the archive in the store with a copy. This may take long.
func (s *session) finishMoves(ctx context.Context, copies bool) {
	record := filepath.Join(s.store.Dir(), moveRecordFile)
	moves, err := readMoveRecord(record)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		s.options.Log.Warn("cannot read the record of an interrupted import, so archives in the store may still have their old names outside of the store: remove the record", zap.String("path", record), zap.Error(err))
	case moves.Generation > s.store.State().Generation:
		s.forgetMoves(moves)
	default:
		s.options.Log.Info("resuming an interrupted move of archives into the store", zap.Int("files", len(moves.files)))
		s.removeMoved(ctx, moves, copies)
	}
}

// forgetMoves removes the record of moves: all of them are done, or their archives were not published.
func (s *session) forgetMoves(moves *moveRecord) {
	dirs := map[string]bool{s.store.Dir(): true}
	for _, f := range moves.files {
		dirs[filepath.Dir(string(f.Name))] = true
	}
	publish.SyncNames(dirs)
	if err := s.store.Remove(moveRecordFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.options.Log.Warn("cannot remove the record of moved archives: the next import tries again", zap.Error(err))
	}
}

// removeMoved removes the old names of archives outside of the store, and takes ownership of their
// files. Copied files stay in place.
func (s *session) removeMoved(ctx context.Context, moves *moveRecord, copies bool) {
	if len(moves.files) == 0 {
		return
	}
	mode, err := s.ownMode()
	if err != nil {
		s.options.Log.Warn("cannot determine the mode of new files in the store: the modes of moved archives stay as they are", zap.Error(err))
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

// removeMovedFile removes the old name of a file. It returns false if the next import must try
// again.
func (s *session) removeMovedFile(ctx context.Context, f publish.MovedFile, mode fs.FileMode, copies bool) bool {
	outside, inside := string(f.Name), string(f.Inside)
	info, err := os.Lstat(outside)
	gone := errors.Is(err, fs.ErrNotExist)
	if !gone && (err != nil || !f.IsUnchanged(info) || !s.isLinkOf(info, inside)) {
		return true // the name now belongs to a different file
	}
	if !gone {
		err := s.options.Before("remove packed", outside)
		if err == nil {
			err = os.Remove(outside)
		}
		if err != nil {
			s.options.Log.Warn("cannot remove the old name of an archive in the store: an import will copy the archive instead", zap.String("path", outside), zap.Error(err))
			if !copies {
				return false
			}
			if err := s.replaceByCopy(ctx, outside, inside); err != nil {
				s.options.Log.Error("cannot copy an archive in the store: it can still be changed through its old name", zap.String("path", outside), zap.Error(err))
				return false
			}
			return true
		}
	}
	info, err = s.store.Root().Lstat(inside)
	if mode == 0 || err != nil || gone && !f.HasInode(info) {
		return true
	}
	if err := s.takeOwnership(inside, info, mode); err != nil {
		s.options.Log.Warn("cannot change the mode or owner of an archive in the store", zap.String("path", inside), zap.Error(err))
	}
	return true
}
