package importer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// candidate is a bundle that lies in a drop directory, as one look found it.
type candidate struct {
	name     string
	path     string
	dir      bool
	identity string    // another one when anything in it was written
	changed  time.Time // the latest of its files
	set      volume.Set
	unready  string   // a name in it that says that it is being written
	files    []string // what it consists of, in the drop directory
}

// find finds the bundles in the directory, and the directories to watch.
func (d *Drop) find(ctx context.Context) (all []candidate, dirs []string, err error) {
	found, err := volume.FindArchives(d.Dir)
	if err != nil {
		return nil, nil, err
	}
	entries, err := os.ReadDir(d.Dir)
	if err != nil {
		return nil, nil, err
	}
	unready := ""
	if found.Publishing { // a pull into the drop directory itself
		unready = volume.PublicationFile
	}
	for _, set := range found.Sets {
		all = append(all, candidate{name: set.Name, path: set.Path(), identity: set.Identity() + unready, changed: set.Changed, set: set, files: filesOf(set.Name, entries), unready: unready})
	}
	dirs = []string{d.Dir}
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") || e.Name() == "done" || e.Name() == "failed" {
			continue
		}
		c := candidate{name: e.Name(), path: filepath.Join(d.Dir, e.Name()), dir: true, files: []string{e.Name()}}
		inside, err := c.walk(ctx)
		if err != nil {
			return nil, nil, err
		}
		all, dirs = append(all, c), append(dirs, inside...)
	}
	slices.SortFunc(all, func(a, b candidate) int { return layoutstore.CompareArchives(a.name, b.name) })
	return all, dirs, nil
}

// filesOf are the files of an archive: itself or its chunks, and their checksums.
func filesOf(archive string, entries []fs.DirEntry) (names []string) {
	for _, e := range entries {
		name, ok := volume.IsArchive(strings.TrimSuffix(e.Name(), ".gostsum"))
		if ok && name == archive && !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// maxFiles bounds what is looked at in one directory that was dropped.
const maxFiles = 4_000_000

// walk looks at everything in a directory that was dropped, and returns the
// directories in it.
func (c *candidate) walk(ctx context.Context) (dirs []string, err error) {
	sum, n := sha256.New(), 0
	err = filepath.WalkDir(c.path, func(name string, e fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return nil // it went while we looked, or is looked at when it is imported
		}
		info, err := e.Info()
		if err != nil {
			return nil
		}
		if n++; n > maxFiles {
			return fmt.Errorf("%s: more than %d files", c.path, maxFiles)
		}
		inTmp := filepath.Base(filepath.Dir(name)) == ".tmp"
		if c.unready == "" && (strings.HasSuffix(name, ".tmp") && !e.IsDir() || inTmp) {
			c.unready = name[len(c.path)+1:]
		}
		if e.IsDir() {
			if filepath.Base(filepath.Dir(name)) != "blobs" { // blobs tell of themselves by their index
				dirs = append(dirs, name)
			}
			fmt.Fprintf(sum, "%s\n", name)
			return nil
		}
		if info.ModTime().After(c.changed) {
			c.changed = info.ModTime()
		}
		fmt.Fprintf(sum, "%s %d %d\n", name, info.Size(), info.ModTime().UnixNano())
		return nil
	})
	c.identity = fmt.Sprintf("%x", sum.Sum(nil))
	return dirs, err
}

// lacks says what a bundle waits for, or is empty. What is whole may still be bad.
func (c *candidate) lacks(ctx context.Context, cache string) (string, error) {
	if c.unready != "" {
		return c.unready + " is still being written", nil
	}
	sets := []volume.Set{c.set}
	if c.dir {
		found, err := volume.FindArchives(c.path)
		if err != nil {
			return "", err
		}
		sets = found.Sets
	}
	for _, set := range sets {
		archive, err := volume.OpenArchive(ctx, set, volume.Cache(cache))
		if err != nil {
			return "", err
		}
		archive.Keep(volume.Cache(cache))
		if t := archive.Trouble(); t.Kind == volume.Incomplete {
			return set.Name + ": " + t.Reason, nil
		}
	}
	return "", nil
}
