package drop

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/fileid"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// Kinds of candidates, as `/status` shows them.
const (
	kindArchive   = "archive"
	kindDirectory = "directory"
	kindEntry     = "entry" // an entry that is no bundle, but is reported
)

// candidate is an entry of a drop directory: a bundle, or a file that looks like part of a bundle.
type candidate struct {
	kind string
	name string
	path string // path that is passed to the import

	identity string // text that changes whenever a file of the bundle changes

	changed time.Time // modification time of the newest file
	set     volume.Set
	unready []string // reasons why the bundle cannot be imported yet; empty if it can
}

// key identifies a candidate in a drop directory. A directory and a chunked archive may have the
// same name, but their keys differ.
func (c *candidate) key() string {
	switch c.kind {
	case kindDirectory:
		return c.name + "/"
	case kindEntry:
		return "./" + c.name
	}
	return c.name
}

var notBundles = []string{"done", "failed"}

func (d *Drop) findCandidates(ctx context.Context) (all []candidate, dirs []string, err error) {
	found, err := volume.FindArchives(d.options.Dir)
	if err != nil {
		return nil, nil, err
	}
	entries, err := os.ReadDir(d.options.Dir)
	if err != nil {
		return nil, nil, err
	}
	parts, reasons := partsOf(found, entries), reasonsOf(found.Problems)
	read := map[string]bool{}
	for _, set := range found.Sets {
		c := candidate{kind: kindArchive, name: set.Name, path: set.Path(), identity: d.identityOf(set), changed: set.Changed, set: set}
		for _, name := range parts[set.Name] {
			if read[name] = true; set.Chunked { // use the name of a chunk, because a directory may have the archive's name
				c.path = filepath.Join(d.options.Dir, name)
			}
		}
		if found.Publishing { // a pull is writing into the drop directory itself
			c.identity += volume.PublicationFile
			c.unready = []string{publishing}
		}
		all = append(all, c)
	}
	dirs = []string{d.options.Dir}
	for _, e := range entries {
		switch name := e.Name(); {
		case !e.IsDir() && !read[name]:
			if c, ok := d.oddCandidate(e, reasons); ok {
				all = append(all, c)
			}
		case e.IsDir() && !strings.HasPrefix(name, ".") && !slices.Contains(notBundles, name):
			c := candidate{kind: kindDirectory, name: name, path: filepath.Join(d.options.Dir, name)}
			inside, err := c.scan(ctx, d.options.MaxFiles)
			if err != nil {
				return nil, nil, err
			}
			all, dirs = append(all, c), append(dirs, inside...)
		}
	}
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(layoutstore.CompareArchives(a.name, b.name), strings.Compare(a.key(), b.key()))
	})
	return all, dirs, nil
}

// identityOf returns a text that changes whenever the archive or the inventory in the drop
// directory changes. A waiting bundle is then checked again.
func (d *Drop) identityOf(set volume.Set) string {
	identity := set.Identity()
	for _, name := range []string{inventory.Name, inventory.SignatureName} {
		if info, err := os.Stat(filepath.Join(d.options.Dir, name)); err == nil {
			state, _ := fileid.Of(info)
			identity += fmt.Sprintf(" %s %v", name, state)
		}
	}
	return identity
}

// partsOf returns the names of each archive's files, by archive name. They include the chunks after
// a missing chunk, but not chunks that have problems themselves.
func partsOf(found volume.Found, entries []fs.DirEntry) map[string][]string {
	chunked, parts := map[string]bool{}, map[string][]string{}
	for _, set := range found.Sets {
		chunked[set.Name] = set.Chunked
	}
	faulty := map[string]bool{}
	for _, f := range found.Problems {
		faulty[f.Path] = true
	}
	for _, e := range entries {
		name := e.Name()
		if !isArchive(name) || e.IsDir() {
			continue
		}
		archive, _ := volume.IsArchive(name)
		isChunked, ok := chunked[archive]
		if ok && isChunked == (name != archive) && !(isChunked && faulty[name]) {
			parts[archive] = append(parts[archive], name)
		}
	}
	return parts
}

func reasonsOf(problems []layoutstore.Problem) map[string]string {
	reasons := make(map[string]string, len(problems))
	for _, p := range problems {
		if _, ok := reasons[p.Path]; !ok {
			reasons[p.Path] = p.Reason
		}
	}
	return reasons
}

// oddCandidate returns a candidate for an entry that is not a bundle but must be reported.
func (d *Drop) oddCandidate(e fs.DirEntry, reasons map[string]string) (candidate, bool) {
	info, err := e.Info()
	if err != nil {
		return candidate{}, false // the entry was removed during the scan
	}
	reason := oddEntry(d.options.Dir, e)
	if why, ok := reasons[e.Name()]; ok && isArchive(e.Name()) {
		reason = why
	}
	if reason == "" {
		return candidate{}, false
	}
	return candidate{kind: kindEntry, name: e.Name(), path: filepath.Join(d.options.Dir, e.Name()), changed: info.ModTime(),
		identity: fmt.Sprint(info.Mode(), info.Size(), info.ModTime().UnixNano()), unready: []string{reason}}, true
}

// oddEntry explains why an entry is not imported. The text is empty for files that nobody expects
// to be imported, such as documents.
func oddEntry(dir string, e fs.DirEntry) string {
	name, mode := e.Name(), e.Type()
	if mode&fs.ModeSymlink != 0 {
		info, err := os.Stat(filepath.Join(dir, name))
		switch {
		case err != nil:
			return "a dangling link: remove it, or put the file itself into the drop directory"
		case info.IsDir():
			return "a link to a directory, but links are not followed: put the directory itself into the drop directory"
		}
		mode = info.Mode()
	}
	if !mode.IsRegular() {
		if strings.HasPrefix(name, ".") {
			return ""
		}
		return fmt.Sprintf("a %s, which is never read: remove it", plainfile.KindOf(mode))
	}
	if strings.HasSuffix(name, removing) {
		return "it" + leftRemoving
	}
	switch class := volume.ClassifyName(name); class.Kind {
	case volume.NameChunk:
		return fmt.Sprintf("a chunk beside the archive %s: layoutproxy imports the archive first, and the chunks once the archive is gone", class.Archive)
	case volume.NameArchive:
		return notAnArchive
	case volume.NameOther:
		return ""
	default:
		return class.Reason + ": " + class.Advice
	}
}

const (
	// maxFiles is the default for Options.MaxFiles.
	maxFiles = 4_000_000
	// maxReasons limits how many reasons are reported per candidate.
	maxReasons = 5
)

var errManyFiles = errors.New("too many files")

// scan walks through a dropped directory, and returns the directories in it. Its only error is the context's.
func (c *candidate) scan(ctx context.Context, limit int) (dirs []string, err error) {
	sum, n := sha256.New(), 0
	var archives []string // archives directly in the dropped directory
	err = filepath.WalkDir(c.path, func(name string, e fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return nil // the entry was removed meanwhile, or the import will report it
		}
		info, err := e.Info()
		if err != nil {
			return nil
		}
		if n++; n > limit {
			return errManyFiles
		}
		if e.IsDir() {
			if filepath.Base(filepath.Dir(name)) != "blobs" { // no need to watch directories in blobs/, because index.json changes with the blobs
				dirs = append(dirs, name)
			}
			fmt.Fprintf(sum, "%s\n", name)
			return nil
		}
		if info.ModTime().After(c.changed) {
			c.changed = info.ModTime()
		}
		fmt.Fprintf(sum, "%s %d %d\n", name, info.Size(), info.ModTime().UnixNano())
		if isArchive(e.Name()) && filepath.Dir(name) == c.path {
			archives = append(archives, e.Name())
		} else if reason := unready(filepath.ToSlash(name[len(c.path)+1:])); reason != "" {
			c.wait(reason)
		}
		return nil
	})
	c.identity = fmt.Sprintf("%x", sum.Sum(nil))
	if errors.Is(err, errManyFiles) {
		c.unready = []string{fmt.Sprintf("it has more than %d files: split it into smaller directories, or import it with layoutproxy import", limit)}
		return nil, nil
	}
	if len(archives) > 0 {
		c.waitForUnread(archives)
	}
	return dirs, err
}

func (c *candidate) wait(reason string) {
	switch {
	case len(c.unready) < maxReasons:
		c.unready = append(c.unready, reason)
	case len(c.unready) == maxReasons:
		c.unready = append(c.unready, "and more")
	}
}
