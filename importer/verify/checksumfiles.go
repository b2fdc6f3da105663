package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// findChecksums finds the checksums in the directories and bucket places of all sources. It schedules the
// files to compare for reading. Errors are those of checksumDir.read, and those of listing a bucket.
func (r *run) findChecksums(ctx context.Context) error {
	for dir, archives := range r.directories() {
		if err := r.findInDirectory(ctx, dir, archives); err != nil {
			return err
		}
	}
	if err := r.findInBuckets(ctx); err != nil {
		return err
	}
	slices.SortFunc(r.report.Checksums, func(a, b *Checksum) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Of, b.Of), cmp.Compare(a.Reason, b.Reason))
	})
	return nil
}

// directories maps each directory to the names of its archives that are sources. If the directory itself is
// a source, its list is nil.
func (r *run) directories() map[string][]string {
	archives := map[string][]string{}
	for _, s := range r.snapshot.Sources() {
		switch dir, name := filepath.Split(s.Path); {
		case s.Kind == "directory":
			addArchive(archives, filepath.Clean(s.Path), "")
		case !bucket.IsPlace(s.Path):
			addArchive(archives, filepath.Clean(dir), name)
		}
	}
	return archives
}

// addArchive adds the name of an archive in a directory. An empty name means all archives in the directory.
func addArchive(archives map[string][]string, dir, name string) {
	names, known := archives[dir]
	switch {
	case name == "":
		archives[dir] = nil
	case names != nil || !known:
		archives[dir] = append(names, name)
	}
}

// findInDirectory schedules the comparison of the checksums in a directory. archives has the same
// meaning as in findIn.
func (r *run) findInDirectory(ctx context.Context, dir string, archives []string) error {
	files, err := volume.OpenFiles(dir)
	if err != nil {
		return nil // the scan has already reported this error
	}
	defer files.Close()
	data, _, err := layoutstore.ReadInventory(dir)
	if err != nil {
		data = nil // the scan has already reported this error
	}
	return r.findIn(ctx, checksumDir{dir, directoryFiles{dir, files}}, archives, data)
}

// findIn schedules the comparison of all checksums in the checksum files of b and in its inventory. inventory
// may be nil. If archives is not nil, findIn uses only the checksums of the archives with these names.
func (r *run) findIn(ctx context.Context, b checksumDir, archives []string, inventory []byte) error {
	all, err := b.find(ctx, archives)
	if err != nil {
		return err
	}
	for _, c := range append(all, b.findListed(archives, inventory)...) {
		r.report.Checksums = append(r.report.Checksums, c.Checksum)
		if c.State == "" {
			r.tasks = append(r.tasks, task{where: c.where, size: c.where.Size(), checksum: c.Checksum})
		}
	}
	return nil
}

// found is a checksum, with the location of the file to compare.
type found struct {
	*Checksum
	where  extent.List
	unread bool // whether the checksum file could not be read
}

// find returns the checksums in the directory's checksum files. If archives is not nil, it returns only
// checksums of these archives and their chunks, and files that cannot be read and may contain such checksums.
// Errors are those of read.
func (b checksumDir) find(ctx context.Context, archives []string) (all []found, err error) {
	for _, name := range b.files.Names() {
		if f, ok := formOf(name); ok {
			in, err := b.read(ctx, name, f)
			if err != nil {
				return nil, err
			}
			all = append(all, in...)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return slices.DeleteFunc(all, func(f found) bool {
		name, _ := volume.IsArchive(filepath.Base(f.Of))
		mayHaveAny := f.unread && f.Of == "" // a list of checksums that cannot be read
		return archives != nil && !mayHaveAny && !slices.Contains(archives, name)
	}), nil
}

// checksumDir is a directory or bucket place that may contain checksum files.
type checksumDir struct {
	dir   string
	files checksumFiles
}

// checksumFiles gives access to the files of a checksumDir. Names are paths with slashes.
type checksumFiles interface {
	// Names returns the sorted names of the files directly in the directory.
	Names() []string
	// find returns a file, or nil if it does not exist.
	find(name string) extent.List
	// read reads a file of at most maxSums bytes. It returns nil, nil for a directory or missing object.
	read(ctx context.Context, name string) ([]byte, error)
}

// maxSums is the maximum size of a checksum file, in bytes.
const maxSums = 4 << 20

// read reads a checksum file with the form f. Errors are layoutstore.ErrStale, the cause of ctx, and those
// for which layoutstore.IsExhausted is true.
func (b checksumDir) read(ctx context.Context, name string, f form) (all []found, err error) {
	file := volume.JoinPath(b.dir, name)
	data, err := b.files.read(ctx, name)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case layoutstore.IsExhausted(err) || errors.Is(err, layoutstore.ErrStale):
		return nil, err
	case err != nil:
		return []found{{Checksum: &Checksum{File: file, Of: b.path(f.of), Algorithm: f.algorithm, State: Illegible, Reason: err.Error()}, unread: true}}, nil
	case data == nil:
		return nil, nil
	}
	for _, s := range f.parse(data) {
		c := &Checksum{File: file, Of: b.path(s.of), Algorithm: f.algorithm, want: s.want}
		if s.fault != "" {
			c.State, c.Reason = Illegible, s.fault
			all = append(all, found{Checksum: c})
			continue
		}
		where, of := b.locate(s.of, f.of)
		if c.Of = b.path(of); where == nil {
			c.State, c.Reason = Absent, fmt.Sprintf("%s is missing", s.of)
		}
		all = append(all, found{Checksum: c, where: where})
	}
	return all, nil
}

// path returns the path of a file whose name is in a checksum file. If the name leads out of the
// directory, it returns the name itself.
func (b checksumDir) path(name string) string {
	if filepath.IsLocal(name) {
		return volume.JoinPath(b.dir, path.Clean(name))
	}
	return name
}

// locate finds the file whose name is beside a checksum, or the chunks of the archive with this name. If
// the name is a path on another machine, locate looks for the last segment of the path. This segment must
// equal own, which is the name of the checksum file without its suffix.
func (b checksumDir) locate(name, own string) (where extent.List, of string) {
	last := name[strings.LastIndexAny(name, `/\`)+1:] // the other machine may run Windows
	for _, try := range []string{filepath.Clean(name), last} {
		if !filepath.IsLocal(try) || try != filepath.Clean(name) && try != own {
			continue
		}
		if file := b.files.find(try); file != nil {
			return file, try
		}
		if chunks := b.chunks(try); chunks != nil {
			return chunks, try
		}
	}
	return nil, name
}

// chunks returns the chunks of an archive as one list, in order.
func (b checksumDir) chunks(archive string) (all extent.List) {
	numbers := map[string]int{} // by name
	for _, name := range b.files.Names() {
		of, _ := volume.IsArchive(name)
		if number, ok := volume.IsChunk(name); ok && of == archive {
			numbers[name], _ = strconv.Atoi(number) // the scan reports malformed numbers
		}
	}
	byNumber := func(x, y string) int { return cmp.Or(cmp.Compare(numbers[x], numbers[y]), strings.Compare(x, y)) }
	for _, name := range slices.SortedFunc(maps.Keys(numbers), byNumber) {
		all = append(all, b.files.find(name)...)
	}
	return all
}
