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

// ReadAll reads files of the bundles that the import did not need: further copies of blobs, and
// blobs that an interrupted import had already copied. It adds intact files to Opened, so that the
// caller may move or remove them. It leaves out damaged files, so that they stay in place. The only
// possible error is the context's error.
func (r Report) ReadAll(ctx context.Context) error {
	for _, repo := range r.repositories {
		digests := repo.digests()
		for _, l := range repo.repo.Layouts() {
			if _, entry := l.Where(); entry != "" || !isDir(l.Volume()) {
				continue // only the blobs of trees are read: an archive is one file
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

// readCopy reads the copy of a blob in a layout, unless the import has already read it.
func readCopy(ctx context.Context, l layoutstore.Layout, d digest.Digest, opened *fileid.Set) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	file, _ := l.WhereBlob(d)
	info, err := os.Stat(file)
	if err != nil || opened.Has(info) || !d.Algorithm().Available() {
		return nil // missing, already read, or unsupported: the file stays in place
	}
	where, err := l.Locate(ctx, d)
	if err != nil {
		return ctx.Err()
	}
	r, err := where.Open(ctx) // adds the file to opened
	if err == nil {
		err = errors.Join(prove(ctx, r, d), r.Close())
	}
	if err != nil {
		opened.Forget(info)
	}
	return ctx.Err()
}

var errMismatch = errors.New("checksum mismatch")

// proveSize is the size of prove's buffer in bytes. It is small, because most blobs are small.
const proveSize = 32 << 10

// prove reads r to its end. It fails with errMismatch if the content does not have the digest d.
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

// copyAll copies r to w through buf. It ends at the end of r, or when the context ends.
func copyAll(ctx context.Context, w io.Writer, r io.Reader, buf []byte) error {
	for {
		n, err := io.CopyBuffer(w, io.LimitReader(r, bufferSize), buf)
		if err := errors.Join(err, ctx.Err()); err != nil || n == 0 {
			return err
		}
	}
}
