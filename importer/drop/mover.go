package drop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/fileid"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// mover are the files of an imported bundle on their way out of the drop directory.
// All paths are below that directory.
type mover struct {
	root   *os.Root
	opened *fileid.Set
	files  []string // that were read
	dirs   []string // parents first
	rest   []staying
	// before is called before each change; its error is that of the change.
	before func(op, path string) error
	// keepDirs is set where somebody still writes into the bundle's directories.
	keepDirs bool
}

// staying is a file that stays in the drop directory.
type staying struct {
	name string
	why  error
}

func (s staying) String() string { return fmt.Sprintf("%s %v", s.name, s.why) }

func (o *mover) addStaying(name string, why error) {
	if !errors.Is(why, fs.ErrNotExist) { // else somebody took it
		o.rest = append(o.rest, staying{name, why})
	}
}

// find sorts the files of a bundle into those that were read and those that stay.
func (o *mover) find(ctx context.Context, it *item) error {
	if it.kind == kindArchive {
		names, err := archiveFiles(o.root, it.set)
		for _, name := range names {
			o.classify(name)
		}
		return err
	}
	return o.walk(ctx, it.name)
}

func (o *mover) walk(ctx context.Context, dir string) error {
	return fs.WalkDir(o.root.FS(), dir, func(name string, e fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			o.addStaying(name, fmt.Errorf("cannot be read: %w", err))
			return fs.SkipDir
		case e.IsDir():
			o.dirs = append(o.dirs, name)
		default:
			o.classify(name)
		}
		return nil
	})
}

// archiveFiles are the files that an archive was read from, with their checksums.
func archiveFiles(root *os.Root, set volume.Set) (names []string, err error) {
	for _, f := range set.Files() {
		name := filepath.Base(f.Path)
		names = append(names, name)
		if info, err := root.Lstat(name + sumSuffix); err == nil && info.Mode().IsRegular() {
			names = append(names, name+sumSuffix)
		}
	}
	return names, nil
}

func (o *mover) classify(name string) {
	if err := o.whyStays(name); err != nil {
		o.addStaying(name, err)
		return
	}
	o.files = append(o.files, name)
}

// Reasons why a file stays.
var (
	errNotRead  = errors.New("was not read")
	errNotFile  = errors.New("is no regular file")
	errDangling = errors.New("is a link that leads nowhere")
)

// whyStays looks at a file now. The error says why it has to stay.
func (o *mover) whyStays(name string) error {
	info, err := o.root.Lstat(name)
	if err != nil {
		return err
	}
	if isLink(info) {
		to, err := o.root.Stat(name)
		switch {
		case err != nil:
			return errDangling
		case to.IsDir(), o.opened.Has(to):
			return nil // a name for what was read
		}
		return errNotRead
	}
	if !info.Mode().IsRegular() {
		return errNotFile
	}
	if o.opened.Has(info) || o.readCompanion(name, info) {
		return nil
	}
	return errNotRead
}

// sumSuffix is what the name of a checksum has behind that of its file.
const sumSuffix = ".gostsum"

// maxCompanion bounds a file that says something of one beside it.
const maxCompanion = 4 << 10

// readCompanion reads a file that goes with one that was read: the checksum of an
// archive, or the marker of a layout. It is false where the file is something else.
func (o *mover) readCompanion(name string, info fs.FileInfo) bool {
	of, ok := strings.CutSuffix(name, sumSuffix)
	if path.Base(filepath.ToSlash(name)) == ocispec.ImageLayoutFile {
		of, ok = filepath.Join(filepath.Dir(name), ocispec.ImageIndexFile), true
	}
	if !ok || info.Size() > maxCompanion {
		return false
	}
	if main, err := o.root.Stat(of); err != nil || !o.opened.Has(main) {
		return false
	}
	f, err := plainfile.OpenIn(o.root, name)
	if err != nil {
		return false
	}
	defer f.Close()
	if _, err := io.CopyN(io.Discard, f, maxCompanion+1); !errors.Is(err, io.EOF) {
		return false
	}
	if info, err = f.Stat(); err != nil {
		return false
	}
	o.opened.Add(info)
	return true
}

// removing ends the name that a file has for the moment in which it is removed.
const removing = ".layoutproxy-remove"

// remove removes what was read, and the directories that are empty then.
func (o *mover) remove() error {
	return o.forEach(func(name string) error {
		aside := asideOf(name)
		if err := o.take(name, aside); err != nil {
			return err
		}
		if err := o.before("remove dropped", name); err != nil {
			return err
		}
		return o.root.Remove(aside)
	})
}

// move moves what was read below the directory to, each to its path.
func (o *mover) move(to string) error {
	made := map[string]bool{}
	return o.forEach(func(name string) error {
		at := filepath.Join(to, name)
		if dir := filepath.Dir(at); !made[dir] {
			if err := o.root.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			made[dir] = true
		}
		return o.take(name, at)
	})
}

// take renames a file that was read. Somebody may have put another one in its place
// since it was looked at last, so it looks at what it got, and puts that back.
func (o *mover) take(name, to string) error {
	if err := o.rename(name, to); err != nil {
		return err
	}
	info, err := o.root.Lstat(to)
	if err != nil {
		return err
	}
	if isLink(info) || o.opened.Has(info) {
		return nil
	}
	o.addStaying(name, errReplaced)
	// A link never replaces what has the name by now; then both stay.
	if err := o.root.Link(to, name); err != nil {
		return fmt.Errorf("%s came while its bundle was moved, and is now %s: %w", name, to, err)
	}
	return o.root.Remove(to)
}

// errReplaced says why a file stays that came in the place of one that was read.
var errReplaced = errors.New("was replaced after it was read")

func (o *mover) rename(from, to string) error {
	if err := o.before("rename dropped", from); err != nil {
		return err
	}
	return o.root.Rename(from, to)
}

// forEach does away with the files one by one, links first, and looks at each once more
// right before. One that somebody else took is no error.
func (o *mover) forEach(do func(name string) error) (err error) {
	for _, links := range []bool{true, false} {
		for _, name := range o.files {
			info, statErr := o.root.Lstat(name)
			if statErr == nil && links != isLink(info) {
				continue
			}
			if why := o.whyStays(name); why != nil {
				o.addStaying(name, fmt.Errorf("has changed: it %w", why))
				continue
			}
			if failed := do(name); failed != nil && !errors.Is(failed, fs.ErrNotExist) {
				err = errors.Join(err, failed)
			}
		}
	}
	if o.keepDirs {
		return err
	}
	for _, dir := range slices.Backward(o.dirs) {
		_ = o.root.Remove(dir) // one that is not empty stays, and what is in it is reported
	}
	return err
}

func isLink(info fs.FileInfo) bool { return info.Mode()&fs.ModeSymlink != 0 }

// moveWhole moves a directory of which everything was read, so that no kill leaves it
// in two parts. What came into it meanwhile goes back.
func (o *mover) moveWhole(ctx context.Context, it *item, to string) error {
	if err := o.rename(it.name, filepath.Join(to, it.name)); err != nil {
		return err
	}
	return o.giveBack(ctx, it.name, to)
}

// giveBack moves back what was not read of a directory that was moved.
func (o *mover) giveBack(ctx context.Context, name, to string) (failed error) {
	moved := filepath.ToSlash(filepath.Join(to, name))
	late := mover{root: o.root, opened: o.opened}
	if err := late.walk(context.WithoutCancel(ctx), moved); err != nil {
		return err
	}
	for _, s := range late.rest {
		back := strings.TrimPrefix(s.name, filepath.ToSlash(to)+"/")
		if info, err := o.root.Lstat(s.name); err == nil && isLink(info) && slices.Contains(o.files, back) {
			continue // it led somewhere before
		}
		if err := o.putBack(s.name, back); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		o.addStaying(back, s.why)
	}
	return failed
}

// putBack gives a file its name back. It replaces nothing that has the name by now.
func (o *mover) putBack(from, to string) error {
	if _, err := o.root.Lstat(to); err == nil {
		return fmt.Errorf("%s came while its bundle was moved, and is now %s: %w", to, from, fs.ErrExist)
	}
	if err := o.root.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return o.rename(from, to)
}
