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

// ErrLocked says that another process writes to the store.
var ErrLocked = errors.New("the store is locked")

// Options say which store to open, and how.
type Options struct {
	// Dir is the directory of the store. Open creates it.
	Dir string
	// Waiting is called once where another process holds the lock. Its error ends the
	// wait. It may be nil.
	Waiting func() error
	// Before is called before each change with what will be done; its error is that of
	// the change. It may be nil. Tests fail and die there.
	Before func(op, path string) error
}

// Store is a store that is locked for writing. Paths are below its directory, and nothing
// that is written leaves it.
type Store struct {
	root   *os.Root
	dir    string
	locked *os.File
	temps  atomic.Int64
	before func(op, path string) error
	state  journal.State
}

// Open locks a store, created if need be, and finishes the publication that a killed
// process began. It waits for the lock. Errors: the context's; that of Waiting;
// [UnfinishedError]; the file system's.
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
		_ = s.RemoveAll(temporary) // what a process wrote to that was killed
		_ = s.Remove(staging)      // where nothing else is in it
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

// Close gives the lock back.
func (s *Store) Close() {
	if s.locked != nil {
		s.locked.Close()
	}
	s.root.Close()
}

// State is the state of the store after the last publication.
func (s *Store) State() journal.State { return s.state }

// Dir is the directory of the store.
func (s *Store) Dir() string { return s.dir }

// Root is the directory of the store, for reading. Changes go through the methods of Store.
func (s *Store) Root() *os.Root { return s.root }

// lockPause is how long to wait before asking for the lock again.
const lockPause = 50 * time.Millisecond

// lock takes the store's lock, and waits for it.
func (s *Store) lock(ctx context.Context, waiting func() error) error {
	f, err := s.root.OpenFile(lockFile, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("the lock of the store: %w", err)
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
			return fmt.Errorf("the lock of the store: %w", err)
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
	data, err := json.Marshal(state)
	if err != nil {
		return err
	}
	return s.WriteFile(journal.StateFile, bytesOf(append(data, '\n')))
}

// bytesOf is the content of a file that is a few bytes long.
func bytesOf(data []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}
}
