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

// ReadAll reads the files of an imported bundle that the import did not have to open, and
// adds those that prove right to Opened: further copies of a blob in other layouts, and
// blobs that an interrupted import had copied before. A copy that is not what its name says
// is forgotten, so that it stays where it is. Errors: the context's.
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

// digests are those of everything that the repository's indexes lead to.
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

// readCopy reads the copy of a blob in one layout, unless it was opened before.
func readCopy(ctx context.Context, l layoutstore.Layout, d digest.Digest, opened *fileid.Set) error {
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
		opened.Forget(info)
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
