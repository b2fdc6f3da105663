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

// mover moves the files of an imported bundle out of the drop directory, or removes them:
// those that were read, and still are as they were then. All paths are below that directory.
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

func (m *mover) addStaying(name string, why error) {
	if !errors.Is(why, fs.ErrNotExist) { // else somebody took it
		m.rest = append(m.rest, staying{name, why})
	}
}

// find sorts the files of a bundle into those that were read and those that stay.
func (m *mover) find(ctx context.Context, it *item) error {
	if it.kind == kindArchive {
		names, err := archiveFiles(m.root, it.set)
		for _, name := range names {
			m.classify(name)
		}
		return err
	}
	return m.walk(ctx, it.name)
}

func (m *mover) walk(ctx context.Context, dir string) error {
	return fs.WalkDir(m.root.FS(), dir, func(name string, e fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			m.addStaying(name, fmt.Errorf("cannot be read: %w", err))
			return fs.SkipDir
		case e.IsDir():
			m.dirs = append(m.dirs, name)
		default:
			m.classify(name)
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

func (m *mover) classify(name string) {
	if err := m.whyStays(name); err != nil {
		m.addStaying(name, err)
		return
	}
	m.files = append(m.files, name)
}

// Reasons why a file stays.
var (
	errNotRead  = errors.New("was not read")
	errNotFile  = errors.New("is no regular file")
	errDangling = errors.New("is a link that leads nowhere")
)

// whyStays looks at a file now. The error says why it has to stay.
func (m *mover) whyStays(name string) error {
	info, err := m.root.Lstat(name)
	if err != nil {
		return err
	}
	if isLink(info) {
		to, err := m.root.Stat(name)
		switch {
		case err != nil:
			return errDangling
		case to.IsDir(), m.opened.Has(to):
			return nil // a name for what was read
		}
		return errNotRead
	}
	if !info.Mode().IsRegular() {
		return errNotFile
	}
	if m.opened.Has(info) || m.readCompanion(name, info) {
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
func (m *mover) readCompanion(name string, info fs.FileInfo) bool {
	of, ok := strings.CutSuffix(name, sumSuffix)
	if path.Base(filepath.ToSlash(name)) == ocispec.ImageLayoutFile {
		of, ok = filepath.Join(filepath.Dir(name), ocispec.ImageIndexFile), true
	}
	if !ok || info.Size() > maxCompanion {
		return false
	}
	if main, err := m.root.Stat(of); err != nil || !m.opened.Has(main) {
		return false
	}
	f, err := plainfile.OpenIn(m.root, name)
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
	m.opened.Add(info)
	return true
}

// removing ends the name that a file has for the moment in which it is removed.
const removing = ".layoutproxy-remove"

// remove removes what was read, and the directories that are empty then.
func (m *mover) remove() error {
	return m.forEach(func(name string) error {
		aside := asideOf(name)
		if err := m.take(name, aside); err != nil {
			return err
		}
		if err := m.before("remove dropped", name); err != nil {
			return err
		}
		return m.root.Remove(aside)
	})
}

// move moves what was read below the directory to, each to its path.
func (m *mover) move(to string) error {
	made := map[string]bool{}
	return m.forEach(func(name string) error {
		at := filepath.Join(to, name)
		if dir := filepath.Dir(at); !made[dir] {
			if err := m.root.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			made[dir] = true
		}
		return m.take(name, at)
	})
}

// take renames a file that was read. Somebody may have put another one in its place
// since it was looked at last, so it looks at what it got, and puts that back.
func (m *mover) take(name, to string) error {
	if err := m.rename(name, to); err != nil {
		return err
	}
	info, err := m.root.Lstat(to)
	if err != nil {
		return err
	}
	if isLink(info) || m.opened.Has(info) {
		return nil
	}
	m.addStaying(name, errReplaced)
	// A link never replaces what has the name by now; then both stay.
	if err := m.root.Link(to, name); err != nil {
		return fmt.Errorf("%s came while its bundle was moved, and is now %s: %w", name, to, err)
	}
	return m.root.Remove(to)
}

// errReplaced says why a file stays that came in the place of one that was read.
var errReplaced = errors.New("was replaced after it was read")

func (m *mover) rename(from, to string) error {
	if err := m.before("rename dropped", from); err != nil {
		return err
	}
	return m.root.Rename(from, to)
}

// forEach does away with the files one by one, links first, and looks at each once more
// right before. One that somebody else took is no error.
func (m *mover) forEach(do func(name string) error) (err error) {
	for _, links := range []bool{true, false} {
		for _, name := range m.files {
			info, statErr := m.root.Lstat(name)
			if statErr == nil && links != isLink(info) {
				continue
			}
			if why := m.whyStays(name); why != nil {
				m.addStaying(name, fmt.Errorf("has changed: it %w", why))
				continue
			}
			if failed := do(name); failed != nil && !errors.Is(failed, fs.ErrNotExist) {
				err = errors.Join(err, failed)
			}
		}
	}
	if m.keepDirs {
		return err
	}
	for _, dir := range slices.Backward(m.dirs) {
		_ = m.root.Remove(dir) // one that is not empty stays, and what is in it is reported
	}
	return err
}

func isLink(info fs.FileInfo) bool { return info.Mode()&fs.ModeSymlink != 0 }

// moveWhole moves a directory of which everything was read, so that no kill leaves it
// in two parts. What came into it meanwhile goes back.
func (m *mover) moveWhole(ctx context.Context, it *item, to string) error {
	if err := m.rename(it.name, filepath.Join(to, it.name)); err != nil {
		return err
	}
	return m.giveBack(ctx, it.name, to)
}

// giveBack moves back what was not read of a directory that was moved.
func (m *mover) giveBack(ctx context.Context, name, to string) (failed error) {
	moved := filepath.ToSlash(filepath.Join(to, name))
	late := mover{root: m.root, opened: m.opened}
	if err := late.walk(context.WithoutCancel(ctx), moved); err != nil {
		return err
	}
	for _, s := range late.rest {
		back := strings.TrimPrefix(s.name, filepath.ToSlash(to)+"/")
		if info, err := m.root.Lstat(s.name); err == nil && isLink(info) && slices.Contains(m.files, back) {
			continue // it led somewhere before
		}
		if err := m.putBack(s.name, back); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		m.addStaying(back, s.why)
	}
	return failed
}

// putBack gives a file its name back. It replaces nothing that has the name by now.
func (m *mover) putBack(from, to string) error {
	if _, err := m.root.Lstat(to); err == nil {
		return fmt.Errorf("%s came while its bundle was moved, and is now %s: %w", to, from, fs.ErrExist)
	}
	if err := m.root.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return m.rename(from, to)
}
