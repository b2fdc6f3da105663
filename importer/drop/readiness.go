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

// publishing is the reason why a bundle waits while a pull moves its files into place.
const publishing = "a pull is publishing here, or was interrupted: run it again"

// notAnArchive is the reason why an archive is not read.
const notAnArchive = "it looks like an archive, but cannot be read as one"

// leftRemoving describes a file that a killed process was removing.
const leftRemoving = " was imported, and layoutproxy was stopped while removing it: remove it"

// unready returns the reason why a file prevents the import of its dropped directory: the file is still being
// written, or it looks like part of a bundle but would not be read. name is its path below the directory.
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

// waitForUnread adds a reason to wait for each file directly in the directory that looks like an archive
// but would not be read.
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

// missingFiles lists the files in the inventory of a bundle that are still missing. The list is empty if
// there are none.
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

// whyIncomplete returns the reason why a bundle waits, or the empty string if it is complete. A complete
// bundle may still be damaged.
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
