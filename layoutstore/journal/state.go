package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// The files of a store beside its layouts. They are paths below the store.
const (
	Dir       = ".layoutproxy"
	StateFile = Dir + "/store.json" // a State: what makes a directory a store
	File      = Dir + "/journal"    // a Journal, while an import is published
)

// Format is the version of the files in Dir that this program knows.
const Format = 1

// State is the state of a store: a tree of layouts into which bundles are imported,
// each import a generation that readers see completely or not at all.
type State struct {
	Format     int      `json:"format"`
	Generation uint64   `json:"generation"` // of the last import; 0 before the first
	Packed     []Packed `json:"packed,omitempty"`
}

// Packed is an archive that is stored as it came.
type Packed struct {
	File       string `json:"file"` // NAME.tar in the store, of a chunk set as well
	Name       string `json:"name"` // that it came under
	Generation uint64 `json:"generation"`
	// There says, in a journal, that the archive was in the store before, where somebody
	// put it by hand: readers have seen it all the time.
	There bool `json:"there,omitempty"`
}

// ErrNotStore says that a directory is no store.
var ErrNotStore = errors.New("not a store")

// ErrTooLong says that readers could not read something that was to be written.
var ErrTooLong = errors.New("too large to be read again")

// Bounds of what is written of a store, which are those of what is read of it.
const (
	MaxIndex = 64 << 20 // bytes of an index.json: some 150,000 descriptors
	MaxFile  = 1 << 30  // bytes of the state, and of the header of a journal
)

// CheckSize fails where a file of a store, or the header of one, would have more bytes
// than are read of it. Errors: ErrTooLong.
func CheckSize(what string, size int64) error {
	if size > MaxFile {
		return fmt.Errorf("%s would have %d bytes, and at most %d are read: %w", what, size, int64(MaxFile), ErrTooLong)
	}
	return nil
}

// ReadState reads the state of the store at dir. Errors: ErrNotStore; the file
// system's; that the state is malformed or of a later version.
func ReadState(dir string) (State, error) {
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return State{}, fmt.Errorf("%s: %w", dir, ErrNotStore)
	}
	data, err := readFile(dir, StateFile)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return State{}, fmt.Errorf("%s: %w", dir, ErrNotStore)
	}
	var s State
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err == nil {
		err = checkFormat(s.Format)
	}
	if err != nil {
		return State{}, fmt.Errorf("state of the store, %s: %w", path.Join(dir, StateFile), err)
	}
	return s, nil
}

func checkFormat(format int) error {
	if format != Format {
		return fmt.Errorf("format %d, this program knows format %d", format, Format)
	}
	return nil
}

func readFile(dir, name string) ([]byte, error) {
	f, err := plainfile.OpenInDir(dir, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > MaxFile {
		return nil, fmt.Errorf("%s: not a regular file, or too large", name)
	}
	return io.ReadAll(io.LimitReader(f, MaxFile))
}
