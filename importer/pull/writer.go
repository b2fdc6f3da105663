package pull

import (
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
)

// file is one file of an archive: all of it, or a chunk.
type file struct {
	Name string
	Size int64 // bytes
}

// files are those that an archive of size bytes is written to, in chunks of at most
// chunk bytes, or whole where chunk is 0. A whole archive in one chunk is a chunk still.
func files(archive string, size, chunk int64) []file {
	if chunk == 0 {
		return []file{{archive, size}}
	}
	var all []file
	for off := int64(0); off < size; off += chunk {
		all = append(all, file{chunkName(archive, len(all)), min(chunk, size-off)})
	}
	return all
}

// chunkSlice is the most that d8 mirror pull writes at once. It closes a chunk with the
// write that fills it, so one may have so much more than the limit, less a byte.
// (deckhouse-cli, docs/mirror-bundle-layout.md §4.3.)
const chunkSlice = 512 << 10

// chunksIn are the chunks of an archive of size bytes that lie in a directory, if they
// are cut by the limit of chunk bytes, wherever exactly: d8 cuts elsewhere than we do.
// It is nil where they are not, or there are none.
func chunksIn(dir, archive string, size, chunk int64) (all []file) {
	for left := size; chunk > 0; {
		name := chunkName(archive, len(all))
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			break
		}
		n := info.Size()
		if all, left = append(all, file{name, n}), left-n; left == 0 && n <= chunk {
			return all
		}
		if left < 0 || n < chunk || n >= chunk+chunkSlice {
			break
		}
	}
	return nil
}

func chunkName(archive string, n int) string { return fmt.Sprintf("%s.%04d.chunk", archive, n) }

// sumName is the name of the checksum file beside a file.
func sumName(name string) string { return name + ".gostsum" }

// output writes an archive to its files below dir, each on disk (fsync) before the
// next is begun, and to checksum files beside them where newSum is not nil.
type output struct {
	dir    string
	rest   []file // the first of them is being written
	newSum func() hash.Hash
	live   func() error // why to stop; nil is never

	f    *os.File
	left int64 // of the file that is open
	sum  hash.Hash
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	done := 0
	for len(p) > done {
		if err := o.ready(); err != nil {
			return done, err
		}
		n := int(min(int64(len(p)-done), o.left))
		if _, err := o.f.Write(p[done : done+n]); err != nil {
			return done, err
		}
		if o.sum != nil {
			o.sum.Write(p[done : done+n])
		}
		done += n
		if err := o.wrote(int64(n)); err != nil {
			return done, err
		}
	}
	return done, nil
}

// maxCopied is how much is copied at once: between two of it the pull can be stopped.
const maxCopied = 64 << 20

// ReadFrom implements io.ReaderFrom: without checksums, files are copied by the kernel.
func (o *output) ReadFrom(r io.Reader) (int64, error) {
	if o.newSum != nil {
		return io.CopyBuffer(struct{ io.Writer }{o}, r, make([]byte, 1<<20))
	}
	var done int64
	for {
		if err := o.ready(); err != nil {
			return done, err
		}
		limit := min(o.left, maxCopied)
		n, err := o.f.ReadFrom(io.LimitReader(r, limit))
		done += n
		if werr := o.wrote(n); err == nil {
			err = werr
		}
		if err != nil || n < limit {
			return done, err
		}
	}
}

// ready opens the next file where none is open.
func (o *output) ready() error {
	if o.live != nil {
		if err := o.live(); err != nil {
			return err
		}
	}
	if o.f != nil {
		return nil
	}
	if len(o.rest) == 0 {
		return fmt.Errorf("%s: more bytes than were planned", o.dir)
	}
	f, err := os.Create(filepath.Join(o.dir, o.rest[0].Name))
	if err != nil {
		return err
	}
	o.f, o.left = f, o.rest[0].Size
	if o.newSum != nil {
		o.sum = o.newSum()
	}
	return nil
}

// wrote counts n bytes, and ends the file that is full by them.
func (o *output) wrote(n int64) error {
	if o.left -= n; o.left > 0 {
		return nil
	}
	name := o.rest[0].Name
	o.rest = o.rest[1:]
	f := o.f
	o.f = nil
	if err := f.Sync(); err != nil {
		return joinClose(err, f)
	}
	if err := f.Close(); err != nil || o.sum == nil {
		return err
	}
	return writeSum(filepath.Join(o.dir, sumName(name)), o.sum)
}

// Close closes what is open. It fails where less was written than planned.
func (o *output) Close() error {
	if o.f != nil {
		f := o.f
		o.f = nil
		return joinClose(fmt.Errorf("%s: %d bytes are missing", o.rest[0].Name, o.left), f)
	}
	if len(o.rest) > 0 {
		return fmt.Errorf("%s was not written", o.rest[0].Name)
	}
	return nil
}
