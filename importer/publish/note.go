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

// Note is a small file in .layoutproxy that is written without the store's lock, by one
// process at a time.
type Note struct {
	Store  string // its directory
	Name   string // of the file
	Max    int64  // bytes that are read of it; no more are written
	Before func(op, path string) error
}

// Path is where the note is.
func (n Note) Path() string { return filepath.Join(n.Store, journal.Dir, n.Name) }

func (n Note) name() string { return path.Join(journal.Dir, n.Name) }

// draft is where the note is while it is written: not in staging, which others may empty
// meanwhile.
func (n Note) draft() string { return n.name() + ".new" }

// Read reads the note. The error wraps fs.ErrNotExist where there is none.
func (n Note) Read() ([]byte, error) { return plainfile.Read(n.Path(), n.Max) }

// Write replaces the note. Either the old one or the new one survives whenever the machine
// stops.
func (n Note) Write(data []byte) error {
	if int64(len(data)) > n.Max {
		return fmt.Errorf("%s would have %d bytes, more than the %d that are read again", n.name(), len(data), n.Max)
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

// Remove removes the note. That there is none is no error.
func (n Note) Remove() error {
	s, err := openUnlocked(n.Store, n.Before)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Remove(n.name()); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return s.SyncDir(journal.Dir)
}

// RemoveDraft removes what a process was writing when it was killed.
func (n Note) RemoveDraft() {
	_ = os.Remove(filepath.Join(n.Store, n.draft())) // the next one takes its place
}
