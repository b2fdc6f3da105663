package inventory

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// Archive is an archive in a bundle, either one file or chunks. If you join the chunks in their
// order, you get the archive.
type Archive struct {
	Name  string // name of the archive, as NAME.tar
	Size  int64  // size of all files together, in bytes
	Files []File // the archive itself, or its chunks in their order
}

func (a *Archive) isChunked() bool { return a.Files[0].Name != a.Name }

// archiveOf returns the name of the archive to which a file belongs. number is the number of a
// chunk, in digits; it is empty if the file is the archive itself.
func archiveOf(file string) (archive, number string, ok bool) {
	if archive, number, ok := names.ParseChunk(file); ok {
		return archive, number, true
	}
	return file, "", strings.HasSuffix(file, ".tar")
}

// Archives returns the archives among files, sorted by name, and the other files. If there are both
// an archive and its chunks, it ignores the chunks.
func Archives(files []File) (archives []*Archive, others []File) {
	byName := map[string][]File{}
	for _, f := range files {
		if name, _, ok := archiveOf(f.Name); ok && !strings.Contains(f.Name, "/") {
			byName[name] = append(byName[name], f)
		} else {
			others = append(others, f)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		a := &Archive{Name: name, Files: byName[name]}
		if n := slices.IndexFunc(a.Files, func(f File) bool { return f.Name == name }); n >= 0 {
			a.Files = a.Files[n : n+1]
		}
		slices.SortFunc(a.Files, func(a, b File) int {
			_, x, _ := archiveOf(a.Name)
			_, y, _ := archiveOf(b.Name)
			return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y))
		})
		for _, f := range a.Files {
			a.Size += f.Size
		}
		archives = append(archives, a)
	}
	return archives, others
}

// CheckFiles compares the listed files with the files in a directory. present contains the
// archives, chunks and indexes in the directory, and those other files that the inventory lists.
// CheckFiles does not compare content. An archive may be joined, or split into different chunks. If
// the inventory lists no files, CheckFiles returns no problems.
//
// A missing file is problem.Incomplete, a file of another size is problem.Damaged, and a file that
// is not listed is a harmless problem.Limited.
func (i *Inventory) CheckFiles(dir string, present []File) []problem.Problem {
	return i.checkFiles(dir, present, func(string) bool { return true })
}

// CheckArchive is like [Inventory.CheckFiles], but checks only the archive with the given name.
func (i *Inventory) CheckArchive(dir, name string, present []File) []problem.Problem {
	return i.checkFiles(dir, present, func(archive string) bool { return archive == name })
}

func (i *Inventory) checkFiles(dir string, present []File, wanted func(archive string) bool) []problem.Problem {
	if len(i.Files) == 0 {
		return nil
	}
	c := fileCheck{dir: dir}
	listed, listedOthers := Archives(i.Files)
	have, others := Archives(present)
	unlisted := byName(have)
	for _, a := range listed {
		if wanted(a.Name) {
			c.archive(a, unlisted[a.Name])
		}
		delete(unlisted, a.Name)
	}
	for _, a := range have {
		if unlisted[a.Name] != nil && wanted(a.Name) {
			c.add(problem.Limited, a.Name, nil, "not part of this bundle: "+Name+" does not list it")
		}
	}
	if wanted("") {
		c.others(listedOthers, others)
	}
	return c.problems
}

func byName(archives []*Archive) map[string]*Archive {
	all := make(map[string]*Archive, len(archives))
	for _, a := range archives {
		all[a.Name] = a
	}
	return all
}

// ErrMissing is the error in the problem for a listed archive if no file of it is present.
var ErrMissing = errors.New("the archive is missing")

// fileCheck collects the problems of the files in a directory.
type fileCheck struct {
	dir      string
	problems []problem.Problem
}

func (c *fileCheck) add(kind problem.Kind, name string, chunks []string, format string, args ...any) {
	c.problems = append(c.problems, problem.Problem{Kind: kind, Path: filepath.Join(c.dir, filepath.FromSlash(name)), Chunks: chunks,
		Reason: fmt.Sprintf(format, args...), Harmless: kind == problem.Limited})
}

// archive compares a listed archive with the one in the directory. have is nil if it is missing.
func (c *fileCheck) archive(want, have *Archive) {
	switch {
	case have == nil:
		what := "the archive is missing"
		if want.isChunked() {
			what = "all its chunks are missing"
		}
		c.add(problem.Incomplete, want.Name, nil, "%s, with %d bytes: copy the archive again", what, want.Size)
		c.problems[len(c.problems)-1].Err = ErrMissing
	case have.Size == want.Size && (!want.isChunked() || !have.isChunked()):
	case want.isChunked() && have.isChunked():
		c.chunks(want, have)
	case have.Size < want.Size:
		c.add(problem.Incomplete, want.Name, nil, "only %d of %d bytes are present: copy the rest", have.Size, want.Size)
	case have.Size > want.Size:
		c.add(problem.Damaged, want.Name, nil, "it has %d bytes, but %s lists %d: copy it again", have.Size, Name, want.Size)
	}
}

// chunks compares the listed chunks of an archive with those in the directory. It reports no
// problem if the archive was split again, into different chunks, and has the right total size.
func (c *fileCheck) chunks(want, have *Archive) {
	sizes := map[string]int64{}
	for _, f := range have.Files {
		sizes[f.Name] = f.Size
	}
	var missing, differ, foreign []string
	for _, f := range want.Files {
		size, ok := sizes[f.Name]
		delete(sizes, f.Name)
		switch {
		case !ok:
			missing = append(missing, chunkOf(f.Name))
		case size != f.Size:
			differ = append(differ, chunkOf(f.Name))
		}
	}
	for _, f := range have.Files {
		if _, ok := sizes[f.Name]; ok {
			foreign = append(foreign, chunkOf(f.Name))
		}
	}
	if have.Size == want.Size && (len(differ) > 0 || len(foreign) > 0) {
		return // the archive was split again, into different chunks
	}
	if len(differ) > 0 && len(foreign) > 0 {
		c.cutAgain(want, have)
		return
	}
	if len(missing) > 0 {
		c.add(problem.Incomplete, want.Name, missing, "%s missing (the archive has %d chunks): copy %s again", isOrAre(missing), len(want.Files), itOrThem(missing))
	}
	if len(differ) > 0 {
		c.add(problem.Damaged, want.Name, differ, "%s of another size than %s lists: copy %s again", isOrAre(differ), Name, itOrThem(differ))
	}
	if len(foreign) > 0 {
		c.add(problem.Limited, want.Name, foreign, "%s not part of this bundle: %s does not list %s", isOrAre(foreign), Name, itOrThem(foreign))
	}
}

// cutAgain reports an archive that was split again, into different chunks of a wrong total size.
// The problem names no chunk, because any of them may be wrong.
func (c *fileCheck) cutAgain(want, have *Archive) {
	if have.Size < want.Size {
		c.add(problem.Incomplete, want.Name, nil, "only %d of %d bytes are present, in different chunks than %s lists: copy the missing chunks, or all chunks again", have.Size, want.Size, Name)
		return
	}
	c.add(problem.Damaged, want.Name, nil, "it has %d bytes, in different chunks than %s lists, and should have %d bytes: copy all chunks again", have.Size, Name, want.Size)
}

// chunkOf returns the name that a chunk has in problems, such as "chunk 0003".
func chunkOf(file string) string {
	_, number, _ := archiveOf(file)
	return "chunk " + number
}

// maxNamed is the maximum number of chunks that the text of a problem names.
const maxNamed = 8

func isOrAre(chunks []string) string {
	switch n := len(chunks); {
	case n == 1:
		return chunks[0] + " is"
	case n > maxNamed:
		return fmt.Sprintf("%s and %d more are", strings.Join(chunks[:maxNamed], ", "), n-maxNamed)
	}
	return strings.Join(chunks, ", ") + " are"
}

func itOrThem(chunks []string) string {
	if len(chunks) == 1 {
		return "it"
	}
	return "them"
}

// others compares the files that are not archives. Checksum files may be missing, because the
// inventory contains the checksums.
func (c *fileCheck) others(want, have []File) {
	sizes := map[string]int64{}
	for _, f := range have {
		sizes[f.Name] = f.Size
	}
	for _, f := range want {
		size, ok := sizes[f.Name]
		delete(sizes, f.Name)
		switch {
		case !ok && !isChecksum(f.Name):
			c.add(problem.Incomplete, f.Name, nil, "missing: %s lists it: copy it again", Name)
		case ok && size != f.Size:
			c.add(problem.Damaged, f.Name, nil, "it has %d bytes, but %s lists %d: copy it again", size, Name, f.Size)
		}
	}
	for _, f := range have {
		if _, ok := sizes[f.Name]; ok && path.Base(f.Name) == "index.json" {
			c.add(problem.Limited, f.Name, nil, "not part of this bundle: %s does not list it", Name)
		}
	}
}

func isChecksum(name string) bool { return strings.HasSuffix(name, ".gostsum") }
