package importer

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// Opened are the files that an import read, each in the state in which it was opened
// last. Only these may be moved or removed after it.
type Opened struct {
	mu    sync.Mutex
	files map[fileID]fileState
}

// fileID is a file, whatever its names are.
type fileID struct{ device, inode uint64 }

// fileState changes when a file is written.
type fileState struct{ size, modified int64 }

func stateOf(info fs.FileInfo) fileState {
	return fileState{info.Size(), info.ModTime().UnixNano()}
}

// add records a file that was opened.
func (o *Opened) add(info fs.FileInfo) {
	id, ok := identify(info)
	if !ok || !info.Mode().IsRegular() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.files == nil {
		o.files = map[fileID]fileState{}
	}
	o.files[id] = stateOf(info)
}

// forget removes a file whose content turned out not to be in the store.
func (o *Opened) forget(info fs.FileInfo) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if id, ok := identify(info); ok {
		delete(o.files, id)
	}
}

// Has reports whether the import read the file, and the file is still the same: of the
// same device, inode, size and modification time.
func (o *Opened) Has(info fs.FileInfo) bool {
	id, ok := identify(info)
	if !ok {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	state, ok := o.files[id]
	return ok && state == stateOf(info)
}

// Len is the number of files.
func (o *Opened) Len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.files)
}

// readRest reads the files of an imported bundle that the import did not have to open:
// further copies of a blob in other layouts, and blobs that an interrupted import had
// copied before. A copy that is not what its name says is forgotten, so that it stays
// where it is. Errors: the context's; those of a closure.
func (b *bundle) readRest(ctx context.Context, opened *Opened) error {
	for _, at := range b.Paths() {
		repo, err := b.At(at)
		if err != nil {
			return err
		}
		graph, err := repo.Closure(ctx)
		if err != nil {
			return err
		}
		var named []digest.Digest
		for _, m := range graph.Manifests {
			named = append(named, m.Digest)
		}
		for _, blob := range graph.Blobs {
			named = append(named, blob.Digest)
		}
		for _, l := range repo.Layouts() {
			if _, entry := l.Where(); entry != "" || !isDir(l.Volume()) {
				continue // an archive is read as one file
			}
			for _, d := range named {
				if err := readCopy(ctx, l, d, opened); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// readCopy reads the copy of a blob in one layout, unless it was opened before.
func readCopy(ctx context.Context, l layoutstore.Layout, d digest.Digest, opened *Opened) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	file, _ := l.WhereBlob(d)
	info, err := os.Stat(file)
	if err != nil || opened.Has(info) || !d.Algorithm().Available() {
		return nil // not there, read before, or it stays
	}
	where, err := l.Locate(d)
	if err != nil {
		return nil
	}
	r, err := where.Open() // which records it
	if err == nil {
		err = errors.Join(prove(ctx, r, d), r.Close())
	}
	if err != nil {
		opened.forget(info)
	}
	return ctx.Err()
}

// errMismatch says that content is not what its digest says.
var errMismatch = errors.New("checksum mismatch")

// prove reads r to its end and fails with errMismatch if its digest is another one.
func prove(ctx context.Context, r io.Reader, d digest.Digest) error {
	verifier := d.Verifier()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch _, err := io.CopyN(verifier, r, bufferSize); {
		case errors.Is(err, io.EOF) && verifier.Verified():
			return nil
		case errors.Is(err, io.EOF):
			return errMismatch
		case err != nil:
			return err
		}
	}
}
