package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// findChecksums finds checksum files directly in sources that are directories, and beside other
// sources. It schedules the files that exist for reading. The error is the cause of ctx.
func (r *run) findChecksums(ctx context.Context) error {
	archives := map[string][]string{} // by directory; nil means all archives there
	for _, s := range r.snapshot.Sources() {
		if s.Kind == "directory" {
			archives[filepath.Clean(s.Path)] = nil
		}
	}
	for _, s := range r.snapshot.Sources() {
		dir, name := filepath.Split(s.Path)
		dir = filepath.Clean(dir)
		if names, all := archives[dir]; s.Kind != "directory" && (names != nil || !all) {
			archives[dir] = append(names, name)
		}
	}
	for dir, names := range archives {
		found, err := findInDir(ctx, dir, names)
		if err != nil {
			return err
		}
		for _, c := range append(found, findListed(dir, names)...) {
			r.report.Checksums = append(r.report.Checksums, c.Checksum)
			if c.State == "" {
				r.tasks = append(r.tasks, task{where: c.where, size: c.where.Size(), checksum: c.Checksum})
			}
		}
	}
	slices.SortFunc(r.report.Checksums, func(a, b *Checksum) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Of, b.Of), cmp.Compare(a.Reason, b.Reason))
	})
	return nil
}

// found is a checksum and the place of the file it is for.
type found struct {
	*Checksum
	where extent.List
}

// findInDir finds the checksums in a directory. If archives is not nil, it finds only those of
// the archives with these names. The error is the cause of ctx.
func findInDir(ctx context.Context, dir string, archives []string) (all []found, err error) {
	files, err := volume.OpenFiles(dir)
	if err != nil {
		return nil, nil // the scan has reported it
	}
	defer files.Close()
	b := checksumDir{dir: dir, files: files}
	for _, name := range files.Names() {
		if f, ok := formOf(name); ok {
			all = append(all, b.read(ctx, name, f)...)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	if archives == nil {
		return all, nil
	}
	named := make(map[string]bool, len(archives))
	for _, name := range archives {
		named[name] = true
	}
	return slices.DeleteFunc(all, func(f found) bool {
		name, _ := volume.IsArchive(filepath.Base(f.Of))
		return !named[name]
	}), nil
}

// checksumDir is a directory with checksum files.
type checksumDir struct {
	dir   string
	files *volume.Files
}

// maxSums limits the size of a checksum file, in bytes.
const maxSums = 4 << 20

// read reads the checksum file name of the form f.
func (b checksumDir) read(ctx context.Context, name string, f form) (all []found) {
	file := filepath.Join(b.dir, name)
	info, err := b.files.Stat(name)
	if err == nil && !info.Mode().IsRegular() {
		return nil
	}
	var data []byte
	if err == nil {
		data, err = extent.ReadFile(ctx, b.file(name), maxSums)
	}
	if err != nil {
		return []found{{Checksum: &Checksum{File: file, Algorithm: f.algorithm, State: Illegible, Reason: err.Error()}}}
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
		all = append(all, found{c, where})
	}
	return all
}

// path resolves a name in a checksum file. A name that leads out of the directory is returned
// unchanged.
func (b checksumDir) path(name string) string {
	if filepath.IsLocal(name) {
		return filepath.Join(b.dir, name)
	}
	return name
}

// locate finds the file that a checksum names, or the chunks of an archive of that name. A path
// from another machine counts as its last segment if the checksum file is named after that.
func (b checksumDir) locate(name, own string) (where extent.List, of string) {
	for _, try := range []string{filepath.Clean(name), filepath.Base(name)} {
		if !filepath.IsLocal(try) || try != filepath.Clean(name) && try != own {
			continue
		}
		if info, err := b.files.Stat(try); err == nil && info.Mode().IsRegular() {
			return extent.List{b.extent(try, info)}, try
		}
		if chunks := b.chunks(try); chunks != nil {
			return chunks, try
		}
	}
	return nil, name
}

func (b checksumDir) extent(name string, info fs.FileInfo) extent.Extent {
	return extent.Extent{File: b.file(name), Len: info.Size(), Whole: true}
}

func (b checksumDir) file(name string) checksumTarget {
	at, _ := b.files.At(name)
	return checksumTarget{b.dir, at, name}
}

// chunks returns the chunks of an archive, joined.
func (b checksumDir) chunks(archive string) (all extent.List) {
	numbers := map[string]int{}
	for _, name := range b.files.Names() {
		of, _ := volume.IsArchive(name)
		if number, ok := volume.IsChunk(name); ok && of == archive {
			numbers[name], _ = strconv.Atoi(number) // the scan reports malformed numbers
		}
	}
	names := make([]string, 0, len(numbers))
	for name := range numbers {
		names = append(names, name)
	}
	slices.SortFunc(names, func(x, y string) int { return cmp.Or(cmp.Compare(numbers[x], numbers[y]), strings.Compare(x, y)) })
	for _, name := range names {
		if info, err := b.files.Stat(name); err == nil && info.Mode().IsRegular() {
			all = append(all, b.extent(name, info))
		}
	}
	return all
}

// checksumTarget is a file in a source's directory.
type checksumTarget struct {
	dir, at string
	name    string // its name in messages
}

// Open implements extent.File. A staged file may have been moved into place meanwhile.
func (f checksumTarget) Open(ctx context.Context) (*os.File, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	file, err := plainfile.OpenInDir(f.dir, f.at)
	if errors.Is(err, fs.ErrNotExist) && f.at != f.name {
		file, err = plainfile.OpenInDir(f.dir, f.name)
	}
	return file, err
}

func (f checksumTarget) String() string { return filepath.Join(f.dir, f.name) }
