package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// Note is a small file in .layoutproxy. It is written without the store's lock, so only one process at a time
// may write it.
type Note struct {
	Store string // directory of the store

	Name string // file name of the note

	Max    int64 // maximum size of the note, in bytes
	Before func(op, path string) error
}

// Path returns the path of the note.
func (n Note) Path() string { return filepath.Join(n.Store, journal.Dir, n.Name) }

func (n Note) name() string { return path.Join(journal.Dir, n.Name) }

// draft returns the path of the note while it is being written. This path is not in staging, because other
// processes may clear staging.
func (n Note) draft() string { return n.name() + ".new" }

// Read reads the note. If the note does not exist, the error wraps fs.ErrNotExist.
func (n Note) Read() ([]byte, error) { return plainfile.Read(n.Path(), n.Max) }

// Write replaces the note atomically: after a crash, either the old or the new note exists.
func (n Note) Write(data []byte) error {
	if int64(len(data)) > n.Max {
		return fmt.Errorf("%s is too large: %d bytes, but the limit is %d", n.name(), len(data), n.Max)
	}
	s, err := openUnlocked(n.Store, n.Before)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.root.Remove(n.draft()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := s.Create(n.draft())
	if err != nil {
		return err
	}
	return f.replace(n.name(), bytesOf(data))
}

// Remove removes the note. It returns nil if the note does not exist.
func (n Note) Remove() error {
	s, err := openUnlocked(n.Store, n.Before)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.removeSynced(n.name())
}

// RemoveDraft removes the partly written note that a killed process has left.
func (n Note) RemoveDraft() {
	_ = os.Remove(filepath.Join(n.Store, n.draft())) // on error, the next Write removes the draft
}
