package importer

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/fileid"
)

// ReadAll reads the files that the import of a bundle did not need: further copies of a blob, and
// blobs that an interrupted import had copied. It adds the intact ones to Opened, so that the
// caller may move or remove them. Damaged copies are not added, and so are kept.
// Errors: the context's.
func (r Report) ReadAll(ctx context.Context) error {
	for _, repo := range r.repositories {
		digests := repo.digests()
		for _, l := range repo.repo.Layouts() {
			if _, entry := l.Where(); entry != "" || !isDir(l.Volume()) {
				continue // an archive is read as one file
			}
			for _, d := range digests {
				if err := readCopy(ctx, l, d, r.Opened); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// digests returns the digests of everything that the repository's indexes lead to.
func (r repository) digests() (all []digest.Digest) {
	for _, m := range r.graph.Manifests {
		all = append(all, m.Digest)
	}
	for _, b := range r.graph.Blobs {
		all = append(all, b.Digest)
	}
	return all
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// readCopy reads the copy of a blob in one layout, unless it was already opened.
func readCopy(ctx context.Context, l layoutstore.Layout, d digest.Digest, opened *fileid.Set) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	file, _ := l.WhereBlob(d)
	info, err := os.Stat(file)
	if err != nil || opened.Has(info) || !d.Algorithm().Available() {
		return nil // missing, already read, or damaged: it stays in place
	}
	where, err := l.Locate(ctx, d)
	if err != nil {
		return ctx.Err()
	}
	r, err := where.Open(ctx) // records it in opened
	if err == nil {
		err = errors.Join(prove(ctx, r, d), r.Close())
	}
	if err != nil {
		opened.Forget(info)
	}
	return ctx.Err()
}

// errMismatch reports content that does not match its digest.
var errMismatch = errors.New("checksum mismatch")

// proveSize is the size of the buffer of prove, in bytes. It is small, as most blobs are.
const proveSize = 32 << 10

// prove reads r to its end and fails with errMismatch if its digest is not d.
func prove(ctx context.Context, r io.Reader, d digest.Digest) error {
	verifier := d.Verifier()
	if err := copyAll(ctx, verifier, r, make([]byte, proveSize)); err != nil {
		return err
	}
	if !verifier.Verified() {
		return errMismatch
	}
	return nil
}

// copyAll copies r to w, through buf, until the end of r, or of the context.
func copyAll(ctx context.Context, w io.Writer, r io.Reader, buf []byte) error {
	for {
		n, err := io.CopyBuffer(w, io.LimitReader(r, bufferSize), buf)
		if err := errors.Join(err, ctx.Err()); err != nil || n == 0 {
			return err
		}
	}
}
