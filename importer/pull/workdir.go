package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/filelock"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

const (
	// workDir is the directory for unfinished content, within the bundle's directory. Readers
	// ignore names that start with a dot.
	workDir = ".tmp/layoutproxy"
	// stateAge is the time for which an interrupted pull can be resumed.
	stateAge = 24 * time.Hour
	// stamp is the name of a file. Its modification time is the last use of the state.
	stamp = "state"
	// copySize is the number of bytes that are copied at a time. They fit into the processor's
	// cache while they are hashed and written.
	copySize = 1 << 17
)

// work is the working directory of a pull. It contains complete blobs, parts of blobs, and archives
// that are not published yet. It is locked while it is open.
type work struct {
	// dir is the directory of the bundle.
	dir string
	// path is the directory of blobs and their parts. It may be on another file system than dir.
	path string
	// local is the directory of staged files. It is on the file system of dir, so that files can be
	// renamed into place.
	local string
	lock  *os.File

	reached func(point string) // of Options

	publisher *bundle.Publisher
	// buffers contains buffers of type *[copySize]byte.
	buffers sync.Pool
	// proven contains, as keys, the digests of blobs that this process has verified.
	proven sync.Map
}

var errBusy = errors.New("another pull is writing to this directory")

// openWork locks dir, if the system supports such locks, and creates the working directory in it.
// If resume is true and the state is not too old, it uses an existing working directory. If temp is
// not "", it keeps blobs below temp. It fails with errBusy if another pull has the lock. Other
// errors come from the file system.
func openWork(dir, temp string, resume bool, now time.Time, reached func(string)) (*work, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := filelock.TryLock(lock); filelock.Available && err != nil {
		if errors.Is(err, filelock.ErrLocked) {
			err = errBusy
		}
		return nil, errors.Join(fmt.Errorf("%s: %w", dir, err), lock.Close())
	}
	if reached == nil {
		reached = func(string) {}
	}
	local := filepath.Join(dir, workDir)
	w := &work{dir: dir, path: local, local: local, lock: lock, reached: reached}
	if temp != "" {
		if w.path, err = tempFor(temp, dir); err != nil {
			return nil, errors.Join(err, filelock.Release(lock))
		}
	}
	if err := w.prepare(resume, now); err != nil {
		return nil, errors.Join(err, filelock.Release(lock))
	}
	return w, nil
}

// tempFor returns the directory in temp that belongs to the bundle in dir. It creates the directory
// if it is missing. It refuses a directory of another user, because other users may be able to
// write to temp.
func tempFor(temp, dir string) (string, error) {
	if err := os.MkdirAll(temp, 0o755); err != nil {
		return "", err
	}
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	if resolved, err = filepath.Abs(resolved); err != nil {
		return "", err
	}
	path := filepath.Join(temp, "layoutproxy-pull-"+digest.FromString(resolved).Encoded()[:16])
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	info, err := os.Lstat(path)
	if err == nil && (!info.IsDir() || !isOwn(info)) {
		err = fmt.Errorf("%s belongs to another user or is not a directory: remove it, or choose another --tmp-dir", path)
	}
	return path, err
}

func (w *work) prepare(resume bool, now time.Time) error {
	var err error
	if w.publisher, err = bundle.NewPublisher(w.dir, w.local, w.reached); err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(w.path, stamp))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil || !resume || now.Sub(info.ModTime()) > stateAge {
		if err := w.clear(); err != nil {
			return err
		}
	}
	for _, dir := range []string{"blobs", "parts"} {
		if err := os.MkdirAll(filepath.Join(w.path, dir), 0o755); err != nil {
			return err
		}
	}
	if err := w.publisher.MakeDirs(); err != nil {
		return err
	}
	return w.touch()
}

// clear removes the content of the working directory. It keeps the directory below --tmp-dir,
// because another user could create one with the same name.
func (w *work) clear() error {
	err := os.RemoveAll(w.local)
	entries, readErr := os.ReadDir(w.path)
	if errors.Is(readErr, fs.ErrNotExist) {
		return err
	}
	err = errors.Join(err, readErr)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(w.path, e.Name())))
	}
	return err
}

func (w *work) touch() error {
	name, now := filepath.Join(w.path, stamp), time.Now()
	if err := os.Chtimes(name, now, now); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.WriteFile(name, []byte("state of a layoutproxy pull, which removes this file when it succeeds\n"), 0o644)
}

func (w *work) finish() error {
	w.reached("finish")
	err := errors.Join(os.RemoveAll(w.path), os.RemoveAll(w.local))
	_ = os.Remove(filepath.Dir(w.local)) // fails if the directory contains files of another tool
	if err != nil {
		return fmt.Errorf("the bundle is published, but cleaning up failed; the next pull tries again: %w", err)
	}
	return nil
}

// Close releases the lock. The state stays on disk.
func (w *work) Close() error { return filelock.Release(w.lock) }

func (w *work) file(sub string, d digest.Digest) string {
	return filepath.Join(w.path, sub, d.Algorithm().String()+"-"+d.Encoded())
}

func (w *work) blob(d digest.Digest) string { return w.file("blobs", d) }
func (w *work) part(d digest.Digest) string { return w.file("parts", d) }

// copy copies all bytes through a buffer. ReadFrom and WriteTo are hidden: they could bypass a
// hash.
func (w *work) copy(to io.Writer, from io.Reader) (int64, error) {
	buffer, ok := w.buffers.Get().(*[copySize]byte)
	if !ok {
		buffer = new([copySize]byte)
	}
	defer w.buffers.Put(buffer)
	return io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, buffer[:])
}

// hasBlob reports whether the complete blob is stored. A size of -1 means any size.
func (w *work) hasBlob(d digest.Digest, size int64) bool {
	info, err := os.Stat(w.blob(d))
	return err == nil && (size < 0 || info.Size() == size)
}

func (w *work) markProven(d digest.Digest) { w.proven.Store(d, nil) }

func (w *work) isProven(d digest.Digest) bool {
	_, ok := w.proven.Load(d)
	return ok
}

// store stores data as the blob with the digest d.
func (w *work) store(d digest.Digest, data []byte) error {
	if w.hasBlob(d, int64(len(data))) && w.isProven(d) {
		return nil
	}
	f, err := os.CreateTemp(filepath.Join(w.path, "parts"), "put-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	// Other users must be able to read the file, because it becomes part of a tree.
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	w.markProven(d)
	return os.Rename(f.Name(), w.blob(d))
}

// open opens a stored blob. A crash may have damaged the file, so the reader verifies the blob,
// unless this process has already done so.
func (w *work) open(d digest.Digest) (io.ReadCloser, error) {
	f, err := plainfile.Open(w.blob(d))
	if err != nil || w.isProven(d) {
		return f, err
	}
	return bundle.NewProvingReader(f, d, f.Name()), nil
}

func (w *work) isIntact(ctx context.Context, d digest.Digest) (bool, error) {
	if w.isProven(d) {
		return true, nil
	}
	good, err := bundle.FileHasDigest(ctx, w.blob(d), d)
	if good {
		w.markProven(d)
	}
	return good, err
}

// keepIntact reports whether an intact blob is stored. It removes a blob that a crash has damaged, so that it
// is fetched again.
func (w *work) keepIntact(ctx context.Context, b closure.Descriptor) (bool, error) {
	if !w.hasBlob(b.Digest, b.Size) {
		return false, nil
	}
	good, err := w.isIntact(ctx, b.Digest)
	if !good && err == nil {
		w.remove(b.Digest)
	}
	return good, err
}

func (w *work) remove(d digest.Digest) { _ = os.Remove(w.blob(d)) }
