package importer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sync/atomic"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// Paths below the store.
const (
	lockFile   = journal.Dir + "/lock"
	staging    = journal.Dir + "/staging"
	stagedTree = staging + "/tree" // what will be in the tree, each at its path
	temporary  = staging + "/tmp"  // what is being written
)

// disk is the directory of a store. Everything that an import writes goes through it,
// and nothing of it leaves the directory.
type disk struct {
	root   *os.Root
	dir    string
	locked *os.File
	temps  atomic.Int64
	// before is called before each change with what will be done; its error is that
	// of the change. Tests fail and die there.
	before func(op, path string) error
}

func openDisk(dir string, before func(op, path string) error) (*disk, error) {
	root, err := plainfile.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	if before == nil {
		before = func(string, string) error { return nil }
	}
	return &disk{root: root, dir: dir, before: before}, nil
}

// close gives the lock back, too.
func (d *disk) close() {
	if d.locked != nil {
		d.locked.Close()
	}
	d.root.Close()
}

// lockPause is how long to wait before asking for the lock again.
const lockPause = 50 * time.Millisecond

// lock takes the store's lock. Where another process has it waiting is called once,
// and its error ends the wait.
func (d *disk) lock(ctx context.Context, waiting func() error) error {
	f, err := d.root.OpenFile(lockFile, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("the lock of the store: %w", err)
	}
	for told := false; ; {
		err := tryLock(f)
		if err == nil {
			d.locked = f
			return nil
		}
		if !errors.Is(err, errLocked) {
			f.Close()
			return fmt.Errorf("the lock of the store: %w", err)
		}
		if !told {
			if err := waiting(); err != nil {
				f.Close()
				return err
			}
			told = true
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			f.Close()
			return ctx.Err()
		}
	}
}

// errLocked says that another process holds the lock.
var errLocked = errors.New("the store is locked")

func (d *disk) mkdirAll(name string) error {
	if info, err := d.root.Stat(name); err == nil && info.IsDir() {
		return nil
	}
	if err := d.before("mkdir", name); err != nil {
		return err
	}
	return d.root.MkdirAll(name, 0o755)
}

func (d *disk) rename(from, to string) error {
	if err := d.before("rename", to); err != nil {
		return err
	}
	return d.root.Rename(from, to)
}

func (d *disk) link(from, to string) error {
	if err := d.before("link", to); err != nil {
		return err
	}
	return d.root.Link(from, to)
}

func (d *disk) remove(name string) error {
	if err := d.before("remove", name); err != nil {
		return err
	}
	return d.root.Remove(name)
}

func (d *disk) removeAll(name string) error {
	if err := d.before("remove", name); err != nil {
		return err
	}
	return d.root.RemoveAll(name)
}

// syncAll has the file system of the store write out everything.
func (d *disk) syncAll() error {
	if err := d.before("syncfs", "."); err != nil {
		return err
	}
	f, err := d.root.Open(journal.Dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return syncFileSystem(f)
}

// manyDirs is from how many directories on one syncfs is cheaper.
const manyDirs = 32

// syncDirs has the file system write out the entries of directories.
func (d *disk) syncDirs(dirs map[string]bool) error {
	if len(dirs) >= manyDirs {
		return d.syncAll()
	}
	for name := range dirs {
		if err := d.syncDir(name); err != nil {
			return err
		}
	}
	return nil
}

func (d *disk) syncDir(name string) error {
	if err := d.before("fsync", name); err != nil {
		return err
	}
	f, err := d.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// output is a new file below staging.
type output struct {
	*os.File
	disk *disk
	name string
}

// create makes a new file for writing. It never opens one that is there: that may
// have another link, which is a blob of the tree.
func (d *disk) create(name string) (*output, error) {
	if err := d.before("create", name); err != nil {
		return nil, err
	}
	f, err := d.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	return &output{f, d, name}, nil
}

// createTemp makes a new file with a name of its own.
func (d *disk) createTemp() (*output, error) {
	if err := d.mkdirAll(temporary); err != nil {
		return nil, err
	}
	for {
		f, err := d.create(path.Join(temporary, fmt.Sprint(d.temps.Add(1))))
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
	}
}

func (o *output) Write(p []byte) (int, error) {
	if err := o.disk.before("write", o.name); err != nil {
		return 0, err
	}
	return o.File.Write(p)
}

func (o *output) Sync() error {
	if err := o.disk.before("fsync", o.name); err != nil {
		return err
	}
	return o.File.Sync()
}

// drop closes and removes the file, where it came to nothing.
func (o *output) drop() {
	o.File.Close()
	_ = o.disk.remove(o.name) // staging is emptied later anyway
}

// publishFile puts content at name, in the place of what was there, so that either is
// there whole whenever the machine stops.
func (d *disk) publishFile(name string, content func(f *output) error) error {
	f, err := d.createTemp()
	if err != nil {
		return err
	}
	if err := errors.Join(content(f), f.Sync(), f.Close()); err != nil {
		f.drop()
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := d.rename(f.name, name); err != nil {
		f.drop()
		return err
	}
	return d.syncDir(path.Dir(name))
}

// bytesOf is the content of a file that is a few bytes long.
func bytesOf(data []byte) func(*output) error {
	return func(f *output) error {
		_, err := f.Write(data)
		return err
	}
}

// stagedPath is where in staging that waits which will be at name in the tree.
func stagedPath(name string) string { return path.Join(stagedTree, name) }
