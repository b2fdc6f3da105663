package verify

import (
	"cmp"
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

// findChecksums looks for checksums directly in the sources that are directories,
// and beside the others. Those of files that are here are to be read.
func (r *run) findChecksums() {
	archives := map[string][]string{} // by directory; nil means all that lies there
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
		for _, c := range lookBeside(dir, names) {
			r.report.Checksums = append(r.report.Checksums, c.Checksum)
			if c.State == "" {
				r.tasks = append(r.tasks, task{where: c.where, size: c.where.Size(), checksum: c.Checksum})
			}
		}
	}
	slices.SortFunc(r.report.Checksums, func(a, b *Checksum) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Of, b.Of), cmp.Compare(a.Reason, b.Reason))
	})
}

// found is a checksum and where what it is of lies.
type found struct {
	*Checksum
	where extent.List
}

// lookBeside finds the checksums in a directory; where archives is not nil, only
// those of the archives with these names.
func lookBeside(dir string, archives []string) (all []found) {
	files, err := volume.OpenFiles(dir)
	if err != nil {
		return nil // the scan has told of it
	}
	defer files.Close()
	b := beside{dir: dir, files: files}
	for _, name := range files.Names() {
		if f, ok := fileOf(name); ok {
			all = append(all, b.read(name, f)...)
		}
	}
	if archives == nil {
		return all
	}
	named := make(map[string]bool, len(archives))
	for _, name := range archives {
		named[name] = true
	}
	return slices.DeleteFunc(all, func(f found) bool {
		name, _ := volume.IsArchive(filepath.Base(f.Of))
		return !named[name]
	})
}

// beside is a directory in which checksums lie.
type beside struct {
	dir   string
	files *volume.Files
}

// maxSums is the longest file of checksums that is read.
const maxSums = 4 << 20

// read reads the file called name, whose form is f.
func (b beside) read(name string, f form) (all []found) {
	file := filepath.Join(b.dir, name)
	info, err := b.files.Stat(name)
	if err == nil && !info.Mode().IsRegular() {
		return nil
	}
	var data []byte
	if err == nil {
		data, err = extent.ReadFile(b.file(name), maxSums)
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
			c.State, c.Reason = Absent, fmt.Sprintf("%s is not here", s.of)
		}
		all = append(all, found{c, where})
	}
	return all
}

// path is where a name in a checksum's file leads to; one that leads out of the
// directory stays as it is.
func (b beside) path(name string) string {
	if filepath.IsLocal(name) {
		return filepath.Join(b.dir, name)
	}
	return name
}

// locate finds the file that a checksum names, or the chunks of an archive of that
// name. A path from where the checksum was made stands for its last part, if that
// is what the checksum's own file is called after.
func (b beside) locate(name, own string) (where extent.List, of string) {
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

func (b beside) extent(name string, info fs.FileInfo) extent.Extent {
	return extent.Extent{File: b.file(name), Len: info.Size(), Whole: true}
}

func (b beside) file(name string) besideFile {
	at, _ := b.files.At(name)
	return besideFile{b.dir, at, name}
}

// chunks are those of an archive, joined.
func (b beside) chunks(archive string) (all extent.List) {
	numbers := map[string]int{}
	for _, name := range b.files.Names() {
		of, _ := volume.IsArchive(name)
		if number, ok := volume.IsChunk(name); ok && of == archive {
			numbers[name], _ = strconv.Atoi(number) // one that is none is a fault of the scan
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

// besideFile is a file in a source's directory.
type besideFile struct {
	dir, at string
	name    string // that it goes by
}

// Open implements extent.File. A staged file may have been moved to its place.
func (f besideFile) Open() (*os.File, error) {
	file, err := plainfile.OpenInDir(f.dir, f.at)
	if errors.Is(err, fs.ErrNotExist) && f.at != f.name {
		file, err = plainfile.OpenInDir(f.dir, f.name)
	}
	return file, err
}

func (f besideFile) String() string { return filepath.Join(f.dir, f.name) }
