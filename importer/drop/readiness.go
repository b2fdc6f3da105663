package drop

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

func isArchive(name string) bool {
	kind := volume.ClassifyName(name).Kind
	return kind == volume.NameArchive || kind == volume.NameChunk
}

// publishing is the reason why a bundle waits while a pull moves files into place.
const publishing = "a pull is publishing here, or was interrupted: if it was interrupted, run it again"

const notAnArchive = "it looks like an archive, but cannot be read as one"

// leftRemoving is the reason for a file that a killed process was removing. It follows the name of the file.
const leftRemoving = " was imported, and layoutproxy was stopped while removing it: remove it"

// unready explains why a file prevents the import of its dropped directory. For example, the file is
// still being written, or it looks like part of a bundle but would not be read. The text is empty if
// the file does not prevent the import. name is the file's path below the dropped directory.
func unready(name string) string {
	dir, base := path.Dir(name), path.Base(name)
	switch {
	case base == volume.PublicationFile:
		return name + ": " + publishing
	case strings.HasSuffix(base, removing):
		return name + leftRemoving
	case strings.HasSuffix(base, ".tmp"), path.Base(dir) == ".tmp":
		return name + " is still being written"
	case strings.HasSuffix("/"+name, "/"+journal.StateFile):
		return fmt.Sprintf("it contains a store (%s), which is never moved: import it with layoutproxy import", name)
	}
	if _, _, ok := names.ParseBlobPath(name); ok {
		return ""
	}
	switch class := volume.ClassifyName(base); class.Kind {
	case volume.NameOther:
		return ""
	case volume.NameArchive, volume.NameChunk:
		return fmt.Sprintf("%s looks like an archive, and archives are read only directly in a dropped directory: move it up, or drop %s by itself", name, dir)
	default:
		return fmt.Sprintf("%s: %s: %s", name, class.Reason, class.Advice)
	}
}

// waitForUnread adds a reason to wait for each of the archives that an import would not read.
// archives are names of files directly in the dropped directory.
func (c *candidate) waitForUnread(archives []string) {
	found, err := volume.FindArchives(c.path)
	if err != nil {
		return // the import reports the error
	}
	entries, err := os.ReadDir(c.path)
	if err != nil {
		return
	}
	read := map[string]bool{}
	for _, names := range partsOf(found, entries) {
		for _, name := range names {
			read[name] = true
		}
	}
	reasons := reasonsOf(found.Problems)
	for _, name := range archives {
		if !read[name] {
			archive, _ := volume.IsArchive(name)
			c.wait(name + ": " + cmp.Or(reasons[name], reasons[archive], notAnArchive))
		}
	}
}

// missingFiles describes the files that a bundle's inventory lists and that are still missing. The
// text is empty if there are none.
func (c *candidate) missingFiles() (string, error) {
	dir, archive := c.path, ""
	if c.kind == kindArchive {
		dir, archive = filepath.Dir(c.path), c.set.Name
	}
	problems, err := layoutstore.CheckInventory(dir, archive)
	if err != nil {
		return "", err
	}
	waits := candidate{}
	for _, p := range problems {
		if p.Kind == layoutstore.Incomplete {
			name, err := filepath.Rel(dir, p.Path)
			if err != nil {
				name = p.Path
			}
			waits.wait(name + ": " + p.Reason)
		}
	}
	return strings.Join(waits.unready, "; "), nil
}

// whyIncomplete explains why a bundle is not complete yet. The text is empty if it is complete, but
// the bundle may still be damaged.
func (c *candidate) whyIncomplete(ctx context.Context, cache string) (string, error) {
	if len(c.unready) > 0 {
		return strings.Join(c.unready, "; "), nil
	}
	if missing, err := c.missingFiles(); missing != "" || err != nil {
		return missing, err
	}
	sets := []volume.Set{c.set}
	if c.kind == kindDirectory {
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
		archive.SaveIndex(volume.Cache(cache))
		if p, ok := archive.Problem(); ok && p.Kind == layoutstore.Incomplete {
			return set.Name + ": " + p.Reason, nil
		}
	}
	return "", nil
}
