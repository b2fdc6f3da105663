package volume

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// An index stays in a cache if some process uses it at least once in this time. For the
// index of an archive that is gone the time is shorter. It is not zero: several servers may
// share a cache and have different archives at one path, and an archive may be away for a
// moment.
const (
	maxUnused     = 90 * 24 * time.Hour
	maxUnusedGone = 7 * 24 * time.Hour
	maxUnfinished = 24 * time.Hour // of the temporary file of a process that was killed
	useEvery      = 24 * time.Hour // how often a use is recorded
)

// The names of the program's files in a cache. Other files are never touched.
var (
	indexName      = regexp.MustCompile(`^[0-9a-f]{32}\.index$`)
	unfinishedName = regexp.MustCompile(`^\.tmp-[0-9]+$`)
)

// use records the use of a set's index in the modification time of its file.
func (c Cache) use(s Set, now time.Time) {
	file := c.file(s)
	if info, err := os.Lstat(file); err == nil && info.Mode().IsRegular() && now.Sub(info.ModTime()) > useEvery {
		_ = os.Chtimes(file, time.Time{}, now) // at worst it is pruned, and rebuilt
	}
}

// Prune removes indexes from the cache that nobody has used for 90 days, or for 7 days if
// their archive is gone. An archive counts as gone only if it is missing and was directly
// in one of the directories dirs, which the caller reads anyway. An index that cannot be
// removed stays.
func (c Cache) Prune(now time.Time, dirs []string) {
	if c == "" {
		return
	}
	entries, err := os.ReadDir(string(c))
	if err != nil {
		return
	}
	read := map[string]bool{}
	for _, dir := range dirs {
		read[absolute(dir)] = true
	}
	for _, e := range entries {
		if c.isUnused(e, now, read) {
			_ = os.Remove(filepath.Join(string(c), e.Name())) // another process may have been first
		}
	}
}

// isUnused reports whether an entry of the cache directory is to be removed.
func (c Cache) isUnused(e fs.DirEntry, now time.Time, read map[string]bool) bool {
	isIndex := indexName.MatchString(e.Name())
	if !isIndex && !unfinishedName.MatchString(e.Name()) || !e.Type().IsRegular() {
		return false
	}
	info, err := e.Info()
	if err != nil {
		return false
	}
	unused := now.Sub(info.ModTime())
	switch {
	case !isIndex:
		return unused > maxUnfinished
	case unused > maxUnused:
		return true
	case unused <= maxUnusedGone:
		return false
	}
	file, ok := c.fileOfIndex(e.Name())
	if !ok || !read[filepath.Dir(file)] {
		return false
	}
	_, err = os.Lstat(file)
	return errors.Is(err, fs.ErrNotExist)
}

// fileOfIndex returns the archive that an index was made from, or its first chunk. ok is false
// if another version of the program wrote the index.
func (c Cache) fileOfIndex(name string) (file string, ok bool) {
	f, err := plainfile.OpenNoFollow(filepath.Join(string(c), name))
	if err != nil {
		return "", false
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, 16<<10))
	if err != nil {
		return "", false
	}
	d := decoder{rest: head}
	if d.text() != indexVersion {
		return "", false
	}
	_ = d.text() // the path of the archive
	file = d.text()
	return file, !d.bad
}

// Gone lists the indexes in the cache whose archive was directly in one of the directories dirs
// and is gone, by path.
func (c Cache) Gone(dirs []string) (files []string) {
	entries, err := os.ReadDir(string(c))
	if c == "" || err != nil {
		return nil
	}
	read := map[string]bool{}
	for _, dir := range dirs {
		read[absolute(dir)] = true
	}
	for _, e := range entries {
		if !indexName.MatchString(e.Name()) || !e.Type().IsRegular() {
			continue
		}
		file, ok := c.fileOfIndex(e.Name())
		if !ok || !read[filepath.Dir(file)] {
			continue
		}
		if _, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) {
			files = append(files, filepath.Join(string(c), e.Name()))
		}
	}
	return files
}
