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

// Set contains the files of one archive. These are either NAME.tar, or the chunks
// NAME.tar.0000.chunk and so on. The chunks joined together are the archive.
type Set struct {
	// Name is the file name of the archive.
	Name string
	// As is the original name of a renamed archive. It may be empty.
	As      string
	Chunked bool
	Changed time.Time // the latest modification time of its files

	// dir is the directory as the user gave it.
	dir string
	// files contains the files of the archive. In a chunk set, it contains only the chunks before
	// the first missing one.
	files []extent.Extent
	// seams describes where the chunks meet. It is nil for an archive in one file.
	seams *seams
	// beside is the index beside an archive in a bucket. It is nil for any other archive.
	beside *indexObject
	// identity changes when a file is replaced or written.
	identity string
	// written is like identity, but ignores changes of modes, owners and links.
	written string
}

// Identity returns a string that is equal for two scans of the same files in the same state.
func (s Set) Identity() string { return s.identity }

// Written returns a string that is equal for two scans if no file was replaced or written between
// them. It depends on sizes, modification times and, where there are any, inodes. In a bucket, ETags replace
// the modification times. Unlike [Set.Identity], it ignores the mode, the owner and the links of a file.
func (s Set) Written() string { return s.written }

// Path returns the path of the archive. For a chunk set, it is the path that the joined archive would have.
func (s Set) Path() string { return JoinPath(s.dir, s.Name) }

func (s Set) list() extent.List { return extent.List(s.files) }

// Found contains the archives in a directory.
type Found struct {
	// Dir is the directory as the user gave it.
	Dir string
	// Sets contains the archives in the byte order of their names.
	Sets []Set
	// Problems contains the problems with files in Dir. The path of each problem is a file name.
	Problems []problem.Problem
	// Publishing is set during a [Publication]. Files may then move at any moment.
	Publishing bool
}

// FindArchives finds the archives directly in a directory. During a [Publication], it finds the new
// files. If files of the publication are missing, it fails with *UnfinishedError. It also fails if
// it cannot read the directory. A file that cannot be read is only reported in Problems.
func FindArchives(dir string) (Found, error) { return findArchives(dir, viewOf) }

// FindFilesOnDisk is like FindArchives, but ignores a publication. It is for callers that verify each blob.
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

// IsArchive reports whether a file name belongs to an archive or a chunk, and returns the name of
// the archive.
func IsArchive(file string) (archive string, ok bool) {
	if archive, _, ok := names.ParseChunk(file); ok {
		return archive, true
	}
	return file, strings.HasSuffix(file, ".tar")
}

// IsChunk reports whether a file name belongs to a chunk, and returns the digits of its number.
func IsChunk(file string) (number string, ok bool) {
	_, number, ok = names.ParseChunk(file)
	return number, ok
}

// chunk is a chunk, or an archive in one file, with its state when it was found.
type chunk struct {
	name   string
	number int // the number of the chunk; not used for an archive in one file
	file   extent.Extent
	// changed is the time when the content changed.
	changed time.Time
	// identity and written are as in Set.
	identity, written string
}

// finder collects the archives in a directory, or in a place in a bucket.
type finder struct {
	// root and view are nil for a bucket.
	root *os.Root
	// local means that the file system of root is local.
	local bool
	view  *view
	// plain contains the archives in one file, by name.
	plain map[string]chunk
	// chunks contains the chunks of each chunk set, by the name of the archive.
	chunks  map[string][]chunk
	found   Found
	skipped skippedFiles
}

func newFinder(dir string) finder {
	return finder{found: Found{Dir: dir}, chunks: map[string][]chunk{}, plain: map[string]chunk{}}
}

func (f *finder) report(kind problem.Kind, name string, err error) {
	f.found.Problems = append(f.found.Problems, unreadable(kind, name, err))
}

// addFile adds the file with the given name, unless files with such a name are skipped.
func (f *finder) addFile(name string) {
	if f.skipFile(name) {
		return
	}
	at := filepath.FromSlash(f.view.at(name))
	info, err := f.root.Lstat(at)
	if errors.Is(err, fs.ErrNotExist) {
		return // the file was removed during the scan
	}
	if err != nil {
		f.report(problem.Damaged, name, err)
		return
	}
	file := &archiveFile{f.found.Dir, at, filepath.Join(f.found.Dir, name), info, f.local}
	f.addChunk(chunk{name: name, file: extent.Extent{File: file, Len: info.Size()}, changed: info.ModTime(), identity: stampOf(info), written: writtenOf(info)})
}

// addChunk adds a chunk or an archive in one file. It gets the number of a chunk from its name.
func (f *finder) addChunk(c chunk) {
	archive, digits, isChunk := names.ParseChunk(c.name)
	if !isChunk {
		f.plain[c.name] = c
		return
	}
	var err error
	if c.number, err = strconv.Atoi(digits); err != nil || c.number >= MaxChunks {
		f.report(problem.Damaged, c.name, fmt.Errorf("illegal chunk number %s: it must be below %d", digits, MaxChunks))
		return
	}
	f.chunks[archive] = append(f.chunks[archive], c)
}

// MaxChunks is the maximum number of chunks of an archive. The number of a chunk must be less than MaxChunks.
const MaxChunks = 1_000_000

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
