package volume

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// How long an index stays in a cache without being used by any process. The time is shorter if
// its archive is gone, but not zero: several servers may share a cache and have different
// archives at one path, and an archive may be missing only for a moment.
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

// Prune removes the indexes from the cache that no process has used for 90 days, or for 7 days if
// their archive is gone. An archive is gone if it is missing and was directly in one of dirs, which
// the caller reads anyway. An index that cannot be removed stays.
func (c Cache) Prune(now time.Time, dirs []string) {
	if c == "" {
		return
	}
	entries, err := os.ReadDir(string(c))
	if err != nil {
		return
	}
	for _, e := range entries {
		if c.isUnused(e, now, dirs) {
			_ = os.Remove(filepath.Join(string(c), e.Name())) // another process may have been first
		}
	}
}

// isUnused reports whether [Cache.Prune] removes an entry of the cache directory.
func (c Cache) isUnused(e fs.DirEntry, now time.Time, dirs []string) bool {
	isIndex := isIndexFile(e)
	if !isIndex && !(unfinishedName.MatchString(e.Name()) && e.Type().IsRegular()) {
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
	}
	return unused > maxUnusedGone && c.isGone(e.Name(), dirs)
}

func isIndexFile(e fs.DirEntry) bool { return indexName.MatchString(e.Name()) && e.Type().IsRegular() }

// isGone reports whether the archive of an index was directly in one of dirs and is missing.
func (c Cache) isGone(index string, dirs []string) bool {
	file, ok := c.fileOfIndex(index)
	if !ok || !slices.ContainsFunc(dirs, func(dir string) bool { return absolute(dir) == filepath.Dir(file) }) {
		return false
	}
	_, err := os.Lstat(file)
	return errors.Is(err, fs.ErrNotExist)
}

// fileOfIndex returns the path of the archive of an index, or of its first chunk. ok is false if
// another version of the program wrote the index.
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

// Gone returns the paths of the indexes in the cache whose archive was directly in one of the
// directories dirs and is gone.
func (c Cache) Gone(dirs []string) (files []string) {
	entries, err := os.ReadDir(string(c))
	if c == "" || err != nil {
		return nil
	}
	for _, e := range entries {
		if isIndexFile(e) && c.isGone(e.Name(), dirs) {
			files = append(files, filepath.Join(string(c), e.Name()))
		}
	}
	return files
}
