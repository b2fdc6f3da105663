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

// These times limit how long an unused index stays in a cache. The time is shorter, but not zero,
// if the archive of the index is gone. A second server may share the cache and have its own archive
// at this path, or the archive may be missing only for a moment.
const (
	maxUnused     = 90 * 24 * time.Hour
	maxUnusedGone = 7 * 24 * time.Hour
	// maxUnfinished is for a temporary file that a killed process has left behind.
	maxUnfinished = 24 * time.Hour
	// useEvery is how often the use of an index is recorded.
	useEvery = 24 * time.Hour
)

// These are the names of layoutproxy's files in a cache. Other files are never changed or removed.
var (
	indexName      = regexp.MustCompile(`^[0-9a-f]{32}\.index$`)
	unfinishedName = regexp.MustCompile(`^\.tmp-[0-9]+$`)
)

// use sets the modification time of a set's cached index, to record that the index was used.
func (c Cache) use(s Set, now time.Time) {
	file := c.file(s)
	if info, err := os.Lstat(file); err == nil && info.Mode().IsRegular() && now.Sub(info.ModTime()) > useEvery {
		_ = os.Chtimes(file, time.Time{}, now) // if this fails, the index may be pruned and rebuilt
	}
}

// Prune removes indexes that no process has used for 90 days. If the archive of an index is gone, 7 days are
// enough. An archive is gone if it was directly in one of the directories dirs and is missing now. dirs must
// contain only directories that the caller reads anyway. Prune skips an index that cannot be removed.
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
			_ = os.Remove(filepath.Join(string(c), e.Name())) // another process may have removed it already
		}
	}
}

// isUnused reports whether [Cache.Prune] must remove a file from the cache.
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

// isGone reports whether the archive of an index is missing, and was directly in one of the directories dirs.
func (c Cache) isGone(index string, dirs []string) bool {
	file, ok := c.fileOfIndex(index)
	if !ok || !slices.ContainsFunc(dirs, func(dir string) bool { return absolute(dir) == filepath.Dir(file) }) {
		return false
	}
	_, err := os.Lstat(file)
	return errors.Is(err, fs.ErrNotExist)
}

// fileOfIndex returns the path of the archive of an index, or of its first chunk. ok is false if the
// index is of an archive in a bucket, has a different format version, or cannot be read.
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
	_ = d.text() // skip the path of the archive
	file = d.text()
	return file, !d.bad
}

// Gone returns the paths of the indexes whose archive is missing, and was directly in one of the
// directories dirs.
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
