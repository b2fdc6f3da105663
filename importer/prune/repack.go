package prune

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// repack stages the rewritten archives and adds them to the journal. A rewritten archive has the
// generation of the old one, so that the same tags win.
func (w *work) repack(ctx context.Context, j *journal.Journal) error {
	for _, a := range w.plan.Remove.Archives {
		if a.Rewritten == "" {
			continue
		}
		if err := w.rewrite(ctx, a); err != nil {
			return fmt.Errorf("rewriting %s: %w", a.File, err)
		}
		fresh := journal.Packed{File: a.Rewritten, Name: a.File}
		for _, k := range w.store.state().Packed {
			if k.File == a.File {
				fresh.Name, fresh.Generation = k.Name, k.Generation
			}
		}
		if fresh.Generation == 0 { // the archive was copied into the store by hand: readers hide the new one until the state names it
			fresh.Generation = j.Generation
		}
		j.Packed = append(j.Packed, fresh)
	}
	return nil
}

// entry is an entry of a rewritten archive: data, or content of the old archive.
type entry struct {
	name   string
	data   []byte
	digest digest.Digest
	where  extent.List
}

func (e entry) size() int64 {
	if e.where != nil {
		return e.where.Size()
	}
	return int64(len(e.data))
}

// entriesOf lists the entries that an archive keeps.
func (w *work) entriesOf(ctx context.Context, file string) (all []entry, err error) {
	for i := range w.found.Repositories {
		r := &w.found.Repositories[i]
		repo, err := w.found.snapshot.At(r.Path)
		if err != nil {
			return nil, err
		}
		for _, l := range repo.Layouts() {
			if filepath.Base(l.Volume()) != file || l.Volume() == w.store.place() {
				continue
			}
			found, err := w.layoutEntries(ctx, r, l)
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
		}
	}
	return all, nil
}

// layoutEntries lists the entries that one layout of an archive keeps.
func (w *work) layoutEntries(ctx context.Context, r *Repository, l layoutstore.Layout) (all []entry, err error) {
	listed, err := l.Index(ctx)
	if err != nil {
		return nil, err
	}
	manifests := [][]byte{}
	for _, e := range listed {
		switch w.actionOf(r, e, true) {
		case keepEntry:
			manifests = append(manifests, e.Raw)
		case untagEntry:
			manifests = append(manifests, untagged(e))
		}
	}
	raw := slices.Concat([]byte(`{"schemaVersion":2,"mediaType":"`+ocispec.MediaTypeImageIndex+`","manifests":[`), join(manifests), []byte(`]}`))
	all = append(all, entry{name: path.Join(r.Path, ocispec.ImageIndexFile), data: raw},
		entry{name: path.Join(r.Path, ocispec.ImageLayoutFile), data: []byte(`{"imageLayoutVersion":"` + ocispec.ImageLayoutVersion + `"}`)})
	blobs, err := l.Blobs(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range blobs {
		_, known := w.found.sizes[r.Path][d]
		if known && !w.outcome.Content[r.Path][d] {
			continue
		}
		where, err := l.Locate(ctx, d) // also what no manifest names
		if err != nil {
			return nil, err
		}
		all = append(all, entry{name: path.Join(r.Path, names.BlobPath(d)), digest: d, where: where})
	}
	return all, nil
}

func join(list [][]byte) (all []byte) {
	for i, raw := range list {
		if i > 0 {
			all = append(all, ',')
		}
		all = append(all, raw...)
	}
	return all
}

// sizeOfRewritten returns the size that an archive will have when it is rewritten, in bytes.
func (w *work) sizeOfRewritten(ctx context.Context, file string) (int64, error) {
	all, err := w.entriesOf(ctx, file)
	if err != nil {
		return 0, err
	}
	var n counter
	if err := writeTar(ctx, &n, all, func(e entry, out io.Writer) error {
		_, err := io.CopyN(out, zeros{}, e.size())
		return err
	}); err != nil {
		return 0, err
	}
	return int64(n), nil
}

type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// rewrite writes an archive without its removed images into staging, and verifies every digest
// on the way.
func (w *work) rewrite(ctx context.Context, a Archive) error {
	all, err := w.entriesOf(ctx, a.File)
	if err != nil {
		return err
	}
	locked, ok := w.store.(*directory) // only that has archives
	if !ok {
		return errors.ErrUnsupported
	}
	store := locked.store
	at := publish.StagedPath(a.Rewritten)
	if err := errors.Join(store.MkdirAll(path.Dir(at)), store.RemoveAll(at)); err != nil {
		return err
	}
	out, err := store.Create(at)
	if err != nil {
		return err
	}
	if err := writeTar(ctx, out, all, func(e entry, to io.Writer) error { return copyVerified(ctx, e, to) }); err != nil {
		out.Discard()
		return err
	}
	return out.Close()
}

func copyVerified(ctx context.Context, e entry, to io.Writer) error {
	in, err := e.where.Open(ctx)
	if err != nil {
		return err
	}
	defer in.Close()
	verifier := e.digest.Verifier()
	if _, err := io.CopyBuffer(io.MultiWriter(to, verifier), struct{ io.Reader }{bundle.WithContext(ctx, in)}, make([]byte, 1<<20)); err != nil {
		return err
	}
	if !verifier.Verified() {
		return fmt.Errorf("checksum mismatch: %s", e.digest)
	}
	return nil
}

func writeTar(ctx context.Context, w io.Writer, all []entry, copyTo func(entry, io.Writer) error) error {
	t := tar.NewWriter(w)
	for _, e := range all {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Size: e.size(), Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatGNU}
		if err := errors.Join(ctx.Err(), t.WriteHeader(h)); err != nil {
			return err
		}
		var err error
		if e.where != nil {
			err = copyTo(e, t)
		} else {
			_, err = t.Write(e.data)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
	}
	return t.Close()
}
