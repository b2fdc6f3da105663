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
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// The files of a store beside its layouts, as paths below the store.
const (
	Dir       = ".layoutproxy"
	StateFile = Dir + "/store.json" // a State: it makes a directory a store
	File      = Dir + "/journal"    // a Journal, while an import is published
	SignedDir = Dir + "/signed"     // the signed inventories of imported bundles, as ID.json and ID.json.sig
)

// Format is the version of the files in Dir that this program reads and writes.
const Format = 1

// State is the state of a store: a tree of layouts into which bundles are imported.
// Each import is a generation that readers see completely or not at all.
type State struct {
	Format     int      `json:"format"`
	Generation uint64   `json:"generation"` // of the last import; 0 before the first
	Packed     []Packed `json:"packed,omitempty"`
	// Pruned are manifests whose tags a prune has removed. They are served by digest for a
	// time, for pulls that are running.
	Pruned []Pruned `json:"pruned,omitempty"`
}

// Pruned is a manifest that an index still names although a prune has removed its tags.
type Pruned struct {
	Path   string        `json:"path"` // of the layout below the store
	Digest digest.Digest `json:"digest"`
	After  time.Time     `json:"after"` // when a prune may remove the manifest
}

// Packed is an archive that was imported without unpacking.
type Packed struct {
	File       string `json:"file"` // NAME.tar in the store, for a chunk set too
	Name       string `json:"name"` // its name before the import
	Generation uint64 `json:"generation"`
	// There is set in a journal if somebody had copied the archive into the store before, so
	// that readers have seen it all the time.
	There bool `json:"there,omitempty"`
	// Retired is when the archive may be removed: a prune has removed its tags, and it is served
	// by digest until then. It is nil for any other archive.
	Retired *time.Time `json:"retired,omitempty"`
	// Dropped is set while the files of the archive are being removed. Readers do not see them.
	Dropped bool `json:"dropped,omitempty"`
}

// ErrNotStore says that a directory is not a store.
var ErrNotStore = errors.New("not a store")

// ErrTooLong says that a file is too long for readers, and was refused.
var ErrTooLong = errors.New("too large for readers")

// Limits of the files of a store, for writers and readers.
const (
	MaxIndex = 64 << 20 // bytes of an index.json: some 150,000 descriptors
	MaxFile  = 1 << 30  // bytes of the state, and of the header of a journal
)

// CheckSize fails if a file of a store, or the header of one, would be longer than MaxFile. what
// describes it in the error. Errors: ErrTooLong.
func CheckSize(what string, size int64) error {
	if size > MaxFile {
		return fmt.Errorf("%s would have %d bytes, more than the limit of %d: %w", what, size, int64(MaxFile), ErrTooLong)
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
		err = decode(data, &s, &s.Format)
	}
	if err != nil {
		return State{}, fmt.Errorf("state of the store, %s: %w", path.Join(dir, StateFile), err)
	}
	return s, nil
}

// decode decodes the JSON of v, and then checks format, which is a field of v.
func decode(data []byte, v any, format *int) error {
	if err := json.Unmarshal(data, v); err != nil {
		return err
	}
	if *format != Format {
		return fmt.Errorf("format %d is unknown: this version of layoutproxy reads format %d", *format, Format)
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
	if info.Size() > MaxFile {
		return nil, fmt.Errorf("%s: too large", name)
	}
	return io.ReadAll(io.LimitReader(f, MaxFile))
}
