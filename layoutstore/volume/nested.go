package volume

import (
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
)

// reportNested reports the files in the directory rel that look like archives. It does nothing at
// the top of the tree, because archives are read there.
func (w *walk) reportNested(rel string, entries []fs.DirEntry) {
	if rel == "." {
		return
	}
	var found skippedFiles
	for _, e := range entries {
		class := ClassifyName(e.Name())
		if e.IsDir() || !class.looksLikeArchive() {
			continue
		}
		if e.Type()&fs.ModeSymlink != 0 {
			// Follow the link from the top of the tree, because it may lead out of its directory, but not out of the tree.
			if to, err := w.dir.root.Stat(filepath.FromSlash(path.Join(rel, e.Name()))); err != nil || to.IsDir() {
				continue // a link to a directory is not an archive, and descend reports a broken link
			}
		}
		found.add(rel, e.Name(), class, nestedReason(class))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	all := found.list()
	w.found.Nested = append(w.found.Nested, all[:min(len(all), max(0, maxProblems-len(w.found.Nested)))]...)
}

// nestedReason returns the reason why a file that looks like an archive is not read below the top.
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
