package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// Set is the files of one archive: NAME.tar, or its chunks NAME.tar.0000.chunk and so
// on. Joined, the chunks are the archive.
type Set struct {
	Name    string // of the archive, without its directory
	As      string // the original name of a renamed archive; may be empty
	Chunked bool
	Changed time.Time // the latest modification of its files

	dir      string          // as the user gave it
	files    []extent.Extent // of a chunk set, only those before the first missing number
	seams    *seams          // nil unless the archive is a chunk set
	beside   *indexObject    // nil unless the archive is in a bucket
	identity string          // changes when a file is replaced or written
	written  string          // the same, but ignores changes of modes, owners and links
}

// Identity is equal for two scans of the same files in the same state.
func (s Set) Identity() string { return s.identity }

// Written is equal for two scans if no file was replaced or written between them, judging
// by size and modification time. Unlike [Set.Identity] it does not change with the mode,
// the owner and the links of a file.
func (s Set) Written() string { return s.written }

// Path returns the path of the archive, or the path that it would have if the chunks were
// joined in their directory.
func (s Set) Path() string { return JoinPath(s.dir, s.Name) }

func (s Set) list() extent.List { return extent.List(s.files) }

// Found is the archives of a directory.
type Found struct {
	Dir      string            // as the user gave it
	Sets     []Set             // by byte order of their names
	Problems []problem.Problem // their paths are the names of files
	// Publishing is set during a [Publication]: files may move at any moment.
	Publishing bool
}

// FindArchives finds the archives directly in the directory at dir. During a
// [Publication] it sees the new files. The error is *UnfinishedError, or that of reading
// the directory; a file that cannot be read is among the problems.
func FindArchives(dir string) (Found, error) { return findArchives(dir, viewOf) }

// FindFilesOnDisk is FindArchives, but ignores a publication. It is for callers that verify
// each blob.
func FindFilesOnDisk(dir string) (Found, error) {
	return findArchives(dir, func(*os.Root) (*view, error) { return nil, nil })
}

func findArchives(dir string, readView func(*os.Root) (*view, error)) (Found, error) {
	root, err := plainfile.OpenRoot(dir)
	if err != nil {
		return Found{}, err
	}
	defer root.Close()
	v, err := readView(root)
	if err != nil {
		return Found{}, err
	}
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return Found{}, err
	}
	f := newFinder(dir)
	f.found.Publishing = v != nil
	f.root, f.local, f.view = root, isLocal(root), v
	for _, name := range v.names(entries) {
		f.addFile(name)
	}
	return f.finish(), nil
}

// IsArchive reports whether a file name is that of an archive or a chunk, and returns the
// name of the archive.
func IsArchive(file string) (archive string, ok bool) {
	if archive, _, ok := names.ParseChunk(file); ok {
		return archive, true
	}
	return file, strings.HasSuffix(file, ".tar")
}

// IsChunk reports whether a file name is that of a chunk, and returns the digits of its number.
func IsChunk(file string) (number string, ok bool) {
	_, number, ok = names.ParseChunk(file)
	return number, ok
}

// chunk is an archive in one file, or a chunk, in the state in which it was found.
type chunk struct {
	name              string
	number            int // of a chunk
	file              extent.Extent
	changed           time.Time // when its content changed
	identity, written string    // as in Set
}

// finder collects the archives of a directory, or of a place in a bucket.
type finder struct {
	root    *os.Root // nil for a bucket, as is view
	local   bool     // the file system of root is local
	view    *view
	plain   map[string]chunk   // archives in one file, by name
	chunks  map[string][]chunk // of each chunked archive, by name
	found   Found
	skipped skippedFiles
}

func newFinder(dir string) finder {
	return finder{found: Found{Dir: dir}, chunks: map[string][]chunk{}, plain: map[string]chunk{}}
}

func (f *finder) report(kind problem.Kind, name string, err error) {
	f.found.Problems = append(f.found.Problems, unreadable(kind, name, err))
}

// addFile adds the file called name.
func (f *finder) addFile(name string) {
	if f.skipFile(name) {
		return
	}
	at := filepath.FromSlash(f.view.at(name))
	info, err := f.root.Lstat(at)
	if errors.Is(err, fs.ErrNotExist) {
		return // removed during the scan
	}
	if err != nil {
		f.report(problem.Damaged, name, err)
		return
	}
	file := &archiveFile{f.found.Dir, at, filepath.Join(f.found.Dir, name), info, f.local}
	f.addChunk(chunk{name: name, file: extent.Extent{File: file, Len: info.Size()}, changed: info.ModTime(), identity: stampOf(info), written: writtenOf(info)})
}

// addChunk adds an archive in one file, or a chunk. It sets the number of the chunk.
func (f *finder) addChunk(c chunk) {
	archive, digits, isChunk := names.ParseChunk(c.name)
	if !isChunk {
		f.plain[c.name] = c
		return
	}
	var err error
	if c.number, err = strconv.Atoi(digits); err != nil || c.number >= maxChunks {
		f.report(problem.Damaged, c.name, fmt.Errorf("not a number of a chunk: %s", digits))
		return
	}
	f.chunks[archive] = append(f.chunks[archive], c)
}

// maxChunks limits the number of a chunk.
const maxChunks = 1_000_000

func (f *finder) finish() Found {
	for name, c := range f.plain {
		f.found.Sets = append(f.found.Sets, Set{Name: name, Changed: c.changed, dir: f.found.Dir,
			identity: c.identity, written: c.written, files: []extent.Extent{c.file}})
	}
	for name, chunks := range f.chunks {
		if _, ok := f.plain[name]; ok {
			f.report(problem.Conflict, name, fmt.Errorf("its chunks (%d) are in the same directory and are not read: remove the archive or the chunks", len(chunks)))
			continue
		}
		f.found.Sets = append(f.found.Sets, f.join(name, chunks))
	}
	f.found.Problems = append(f.found.Problems, f.skipped.list()...)
	slices.SortFunc(f.found.Sets, func(a, b Set) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(f.found.Problems, problem.Compare)
	return f.found
}
