package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/filelock"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

const lockFile = journal.Dir + "/lock"

// ErrLocked reports that another process has the lock of the store.
var ErrLocked = errors.New("the store is locked")

// Options configure how a store is opened.
type Options struct {
	// Dir is the directory of the store. If it does not exist, Open creates it.
	Dir string
	// Waiting is called once if another process has the lock. If it returns an error, Open stops waiting. It
	// may be nil.
	Waiting func() error
	// Before is called before each change. If it returns an error, the change fails. It may be nil. Tests use
	// it to simulate failures and crashes.
	Before func(op, path string) error
}

// Store is a store that is locked for writing. Paths are relative to its directory, and no write can leave
// the directory.
type Store struct {
	root   *os.Root
	dir    string
	locked *os.File
	temps  atomic.Int64
	before func(op, path string) error
	state  journal.State
}

// Open waits for the lock of a store, creates the store if it is missing, and completes the publication of a
// killed process. Errors are [UnfinishedError] and those of Waiting, the context and the file system.
func Open(ctx context.Context, o Options) (*Store, error) {
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	s, err := openUnlocked(o.Dir, o.Before)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	err = s.begin(ctx, o.Waiting)
	if s.locked != nil {
		_ = s.RemoveAll(temporary)
		_ = s.root.Remove(stagedTree)
		_ = s.Remove(staging) // fails if the directory is not empty
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func openUnlocked(dir string, before func(op, path string) error) (*Store, error) {
	root, err := plainfile.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	if before == nil {
		before = func(string, string) error { return nil }
	}
	return &Store{root: root, dir: dir, before: before}, nil
}

func (s *Store) begin(ctx context.Context, waiting func() error) error {
	if err := s.MkdirAll(journal.Dir); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := s.lock(ctx, waiting); err != nil {
		return err
	}
	var err error
	if s.state, err = journal.ReadState(s.dir); errors.Is(err, journal.ErrNotStore) {
		s.state = journal.State{Format: journal.Format}
		err = s.writeState(s.state)
	}
	if err != nil {
		return err
	}
	return s.recover()
}

// Close releases the lock, and closes the store.
func (s *Store) Close() {
	if s.locked != nil {
		_ = filelock.Release(s.locked)
	}
	s.root.Close()
}

// State returns the state of the store after the last publication.
func (s *Store) State() journal.State { return s.state }

// Dir returns the directory of the store.
func (s *Store) Dir() string { return s.dir }

// Root returns the directory of the store, for reading only. To write, use the methods of Store.
func (s *Store) Root() *os.Root { return s.root }

const lockPause = 50 * time.Millisecond

func (s *Store) lock(ctx context.Context, waiting func() error) error {
	f, err := s.root.OpenFile(lockFile, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("cannot lock the store: %w", err)
	}
	if err := waitForLock(ctx, f, waiting); err != nil {
		f.Close()
		return err
	}
	s.locked = f
	return nil
}

func waitForLock(ctx context.Context, f *os.File, waiting func() error) error {
	for {
		err := filelock.TryLock(f)
		if err == nil {
			return nil
		}
		if !errors.Is(err, filelock.ErrLocked) {
			return fmt.Errorf("cannot lock the store: %w", err)
		}
		if waiting != nil {
			if err := waiting(); err != nil {
				return err
			}
			waiting = nil
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Store) writeState(state journal.State) error {
	data, err := encodeState(state)
	if err != nil {
		return err
	}
	return s.WriteFile(journal.StateFile, bytesOf(data))
}

func encodeState(state journal.State) ([]byte, error) {
	data, err := json.Marshal(state)
	return append(data, '\n'), err
}

func bytesOf(data []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}
}
