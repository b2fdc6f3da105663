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

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore/fileid"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// mover moves or removes the files of an imported bundle. It ignores all files that the import has
// not read or that have changed since. All paths are below the drop directory.
type mover struct {
	root   *os.Root
	opened *fileid.Set
	files  []string // files that the import has read, to be moved or removed

	dirs []string // directories of the bundle, parents first
	rest []staying
	// before is a hook that runs before each change of a file. If it returns an error, the change fails.
	before func(op, path string) error
	// keepDirs is set if somebody is still writing into the bundle's directories.
	keepDirs bool
}

type staying struct {
	name string
	why  error
}

func (s staying) String() string { return fmt.Sprintf("%s %v", s.name, s.why) }

func (m *mover) addStaying(name string, why error) {
	if !errors.Is(why, fs.ErrNotExist) { // a file that does not exist cannot stay
		m.rest = append(m.rest, staying{name, why})
	}
}

// findFiles decides for each file of a bundle whether it is moved or stays.
func (m *mover) findFiles(ctx context.Context, it *item) error {
	if it.kind == kindArchive {
		for _, name := range archiveFiles(m.root, it.set) {
			m.classify(name)
		}
		return nil
	}
	return m.walk(ctx, it.name)
}

// walk decides for each file in a directory whether it is moved or stays.
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

func archiveFiles(root *os.Root, set volume.Set) (names []string) {
	for _, f := range set.Files() {
		name := filepath.Base(f.Path)
		names = append(names, name)
		if info, err := root.Lstat(name + sumSuffix); err == nil && info.Mode().IsRegular() {
			names = append(names, name+sumSuffix)
		}
	}
	return names
}

func (m *mover) classify(name string) {
	if err := m.whyStays(name); err != nil {
		m.addStaying(name, err)
		return
	}
	m.files = append(m.files, name)
}

// Reasons why a file stays in the drop directory.
var (
	errNotRead  = errors.New("was not read")
	errNotFile  = errors.New("is not a regular file")
	errDangling = errors.New("is a dangling link")
)

// whyStays checks whether a file may be moved. The error says why it must stay.
func (m *mover) whyStays(name string) error {
	info, err := m.root.Lstat(name)
	if err != nil {
		return err
	}
	if publish.IsLink(info) {
		to, err := m.root.Stat(name)
		switch {
		case err != nil:
			return errDangling
		case to.IsDir(), m.opened.Has(to):
			return nil // the link leads to a directory, or to a file that was read
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

const sumSuffix = ".gostsum"

// maxCompanion is the maximum size of a companion file (see readCompanion), in bytes.
const maxCompanion = 4 << 10

// readCompanion reads a small file that belongs to a file that the import has read. It may be the
// checksum file of an archive, or the oci-layout of a layout. For any other file, it returns false.
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

// removing is the suffix of the temporary name of a file that is being removed.
const removing = ".layoutproxy-remove"

// remove removes the files, and then the directories that are empty.
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

// move moves the files into another directory: the file NAME to the path to/NAME.
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

// take renames a file, and then checks it. If somebody has replaced the file meanwhile, take moves it back.
func (m *mover) take(name, to string) error {
	if err := m.rename(name, to); err != nil {
		return err
	}
	info, err := m.root.Lstat(to)
	if err != nil {
		return err
	}
	if publish.IsLink(info) || m.opened.Has(info) {
		return nil
	}
	m.addStaying(name, errReplaced)
	// Link fails if there is a new file with this name. Then both files stay where they are.
	if err := m.root.Link(to, name); err != nil {
		return fmt.Errorf("%s was added while its bundle was moved, and is now at %s: %w", name, to, err)
	}
	return m.root.Remove(to)
}

// errReplaced is the reason why a file stays after it has replaced a file that was read.
var errReplaced = errors.New("was replaced after it was read")

func (m *mover) rename(from, to string) error {
	if err := m.before("rename dropped", from); err != nil {
		return err
	}
	return m.root.Rename(from, to)
}

// forEach checks each file again, and calls do for it. It begins with links, and ignores files that
// do not exist anymore. Then it removes empty directories.
func (m *mover) forEach(do func(name string) error) (err error) {
	for _, links := range []bool{true, false} {
		for _, name := range m.files {
			info, statErr := m.root.Lstat(name)
			if statErr == nil && links != publish.IsLink(info) {
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
		_ = m.root.Remove(dir) // fails if the directory still has files, which are reported
	}
	return err
}

// returnNewFiles moves back those files of a moved directory that the import has not read.
func (m *mover) returnNewFiles(ctx context.Context, name, to string) (failed error) {
	moved := filepath.ToSlash(filepath.Join(to, name))
	late := mover{root: m.root, opened: m.opened}
	if err := late.walk(context.WithoutCancel(ctx), moved); err != nil {
		return err
	}
	for _, s := range late.rest {
		back := strings.TrimPrefix(s.name, filepath.ToSlash(to)+"/")
		if info, err := m.root.Lstat(s.name); err == nil && publish.IsLink(info) && slices.Contains(m.files, back) {
			continue // this link led to a file that was read, but the move broke it
		}
		if err := m.putBack(s.name, back); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		m.addStaying(back, s.why)
	}
	return failed
}

// putBack moves a file back to its old path. It does not replace a new file at that path.
func (m *mover) putBack(from, to string) error {
	if _, err := m.root.Lstat(to); err == nil {
		return fmt.Errorf("%s was added while its bundle was moved, and is now at %s: %w", to, from, fs.ErrExist)
	}
	if err := m.root.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return m.rename(from, to)
}
