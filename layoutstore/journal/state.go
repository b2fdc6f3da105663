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

// These are the paths of the files of a store, relative to the store. No layout has one of these paths.
const (
	Dir = ".layoutproxy"
	// StateFile contains a State, which makes a directory a store.
	StateFile = Dir + "/store.json"
	// File contains a Journal while an import is being published.
	File = Dir + "/journal"
	// SignedDir contains the signed inventories of imported bundles, as ID.json and ID.json.sig.
	SignedDir = Dir + "/signed"
)

// Format is the version of the files in Dir that this program reads and writes.
const Format = 1

// State is the state of a store. A store is a tree of layouts into which bundles are imported. Each
// import is a generation, which readers see completely or not at all.
type State struct {
	Format     int      `json:"format"`
	Generation uint64   `json:"generation"` // the number of the last import; 0 means none yet
	Packed     []Packed `json:"packed,omitempty"`
	// Pruned contains manifests whose tags a prune has removed. They are still served by digest for
	// some time, because clients may be pulling them.
	Pruned []Pruned `json:"pruned,omitempty"`
}

// Pruned is a manifest whose tags a prune has removed, while the index still refers to it.
type Pruned struct {
	Path   string        `json:"path"` // the path of the layout below the store
	Digest digest.Digest `json:"digest"`
	After  time.Time     `json:"after"` // the time from which a prune may remove the manifest
}

// Packed is an archive that was imported without unpacking it.
type Packed struct {
	// File is NAME.tar in the store, even if the archive is a chunk set.
	File string `json:"file"`
	// Name is the name of the archive before the import.
	Name       string `json:"name"`
	Generation uint64 `json:"generation"`
	// There is set in a journal if somebody had copied the archive into the store before the
	// import. Readers see such an archive even during the import.
	There bool `json:"there,omitempty"`
	// Retired is the time from which the archive may be removed, after a prune has removed its
	// tags. Until then, the archive is served by digest. Retired is nil if no prune has removed the tags.
	Retired *time.Time `json:"retired,omitempty"`
	// Dropped is set while the files of the archive are being removed. Readers do not see such an archive.
	Dropped bool `json:"dropped,omitempty"`
}

// ErrNotStore means that a directory or bucket is not a store.
var ErrNotStore = errors.New("not a store")

// ErrTooLong means that a file was refused because it is too long for readers.
var ErrTooLong = errors.New("too large for readers")

// These limits for the files of a store apply to writers and readers.
const (
	// MaxIndex is the maximum size in bytes of an index.json, which is enough for about 150,000 descriptors.
	MaxIndex = 64 << 20
	// MaxFile is the maximum size in bytes of the state, and of the header of a journal.
	MaxFile = 1 << 30
)

// CheckSize fails with ErrTooLong if size is more than MaxFile. what names the file in the error.
func CheckSize(what string, size int64) error {
	if size > MaxFile {
		return fmt.Errorf("%s would have %d bytes, more than the limit of %d: %w", what, size, int64(MaxFile), ErrTooLong)
	}
	return nil
}

// ReadState reads the state of the store at dir. It fails with ErrNotStore if dir is not a store. It
// also fails if the state is malformed or of a later version. Other errors come from the file system.
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

// decode decodes JSON into v, and then checks the format. format points to a field of v.
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
		return nil, fmt.Errorf("%s is too large", name)
	}
	return io.ReadAll(io.LimitReader(f, MaxFile))
}
