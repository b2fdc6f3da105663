package importer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.uber.org/zap"
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
func (s *store) factsOf(name string) (inodeFacts, error) {
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
func (s *store) ownMode() (fs.FileMode, error) {
	f, err := s.createTemp()
	if err != nil {
		return 0, err
	}
	defer f.drop()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Mode().Perm(), nil
}

// stageFileOf links a file of an archive into staging if the store is going to be the
// only one that has it, and else copies it and says why.
func (s *store) stageFileOf(ctx context.Context, name, to string) (reason string, err error) {
	facts, err := s.factsOf(name)
	if err != nil {
		return "", err
	}
	from, err := filepath.EvalSymlinks(name)
	if err != nil {
		return "", err
	}
	if reason = whyCopy(facts); reason == "" {
		err := s.linkFrom(from, to)
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

// own makes a file of the store its own, once its old name is gone: with the mode and the
// owner of what the store makes. Its group has what the mode gives all.
func (s *store) own(name string, mode fs.FileMode) error {
	info, err := s.root.Lstat(name)
	if err != nil {
		return err
	}
	if links, _ := ownership(info); links > 1 {
		return fmt.Errorf("the file has %d names", links)
	}
	if owned(info) && info.Mode().Perm() == mode {
		return nil
	}
	if err := s.before("chmod", name); err != nil {
		return err
	}
	return errors.Join(s.root.Chown(name, os.Geteuid(), -1), s.root.Chmod(name, mode))
}

// part gives the store a file of its own in the place of one whose old name cannot be
// removed.
func (s *store) part(ctx context.Context, outside, name string) error {
	to := temporary + "/parted"
	if err := s.mkdirAll(temporary); err != nil {
		return err
	}
	if err := s.removeAll(to); err != nil {
		return err
	}
	if err := s.copyFrom(ctx, outside, to); err != nil {
		return err
	}
	if err := s.syncAll(); err != nil {
		return err
	}
	if err := s.rename(to, name); err != nil {
		return err
	}
	return s.syncDir(".")
}

// moved removes the names that archives of the store have outside of it, and makes the
// files the store's own. What was copied stays where it is.
func (s *store) moved(ctx context.Context, parcels []*parcel) {
	mode, err := s.ownMode()
	if err != nil {
		s.Log.Warn("the modes of archives in the store stay as they are", zap.Error(err))
	}
	for _, p := range parcels {
		if sameDir(p.dir, s.dir) {
			continue
		}
		for _, file := range p.files {
			outside := filepath.Join(p.dir, file)
			a, err := os.Lstat(outside)
			if err != nil {
				continue
			}
			if b, err := s.root.Lstat(p.storeName(file)); err != nil || !os.SameFile(a, b) {
				continue
			}
			if err := os.Remove(outside); err != nil {
				s.Log.Warn("the archive is in the store, and its old name stays: the store gets a copy", zap.String("path", outside), zap.Error(err))
				if err := s.part(ctx, outside, p.storeName(file)); err != nil {
					s.Log.Error("the archive in the store can be written by its old name", zap.String("path", outside), zap.Error(err))
				}
				continue
			}
			if mode == 0 {
				continue
			}
			if err := s.own(p.storeName(file), mode); err != nil {
				s.Log.Warn("the archive in the store keeps the mode and owner that it came with", zap.String("path", p.storeName(file)), zap.Error(err))
			}
		}
	}
}
