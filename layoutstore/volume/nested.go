package volume

import (
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
)

// nestedArchives reports the files that look like archives in the directory rel below the
// top of the tree. Archives are read only directly in a source.
func (w *walk) nestedArchives(rel string, entries []fs.DirEntry) {
	if rel == "." {
		return // archives are read here
	}
	var found skippedFiles
	for _, e := range entries {
		class := ClassifyName(e.Name())
		if e.IsDir() || class.Kind != NameArchive && class.Kind != NameChunk && !class.Unread {
			continue
		}
		if e.Type()&fs.ModeSymlink != 0 {
			// From the top, as the link may leave its directory but not the tree.
			if to, err := w.dir.root.Stat(filepath.FromSlash(path.Join(rel, e.Name()))); err != nil || to.IsDir() {
				continue // a link to a directory, or one that descend reports
			}
		}
		found.add(rel, e.Name(), class, nestedReason(class))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	all := found.list()
	w.found.Nested = append(w.found.Nested, all[:min(len(all), max(0, maxProblems-len(w.found.Nested)))]...)
}

func nestedReason(c NameClass) error {
	what := "an archive"
	switch {
	case c.Kind == NameChunk:
		what = "a chunk of " + c.Archive
	case c.Unread:
		what = "it looks like an archive"
	}
	err := fmt.Errorf("not read: %s below the top of the source: move it to the top, or name its directory as a source of its own", what)
	if c.Unread {
		err = fmt.Errorf("%w; also, %s: %s", err, c.Reason, c.Advice)
	}
	return err
}
