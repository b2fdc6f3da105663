package prune

import (
	"archive/tar"
	"bytes"
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

// repack stages the rewritten archives, and adds them to the journal. Readers ignore them until store.json
// lists them. A rewritten archive keeps the generation of the old one. So if several volumes have a tag, the
// same volume wins as before. If the old archive has no generation, the new one gets that of the prune.
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
		if fresh.Generation == 0 { // somebody has copied the archive into the store, so it has no generation
			fresh.Generation = j.Generation
		}
		j.Packed = append(j.Packed, fresh)
	}
	return nil
}

// entry is a file in a rewritten archive. Its content is data, or a blob in the old archive.
type entry struct {
	name   string
	data   []byte
	digest digest.Digest
	where  extent.List // where the blob is stored; nil for data
}

const tarBlock = 512 // bytes

func (e entry) header() *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Size: e.size(), Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatGNU}
}

func (e entry) size() int64 {
	if e.where != nil {
		return e.where.Size()
	}
	return int64(len(e.data))
}

func (w *work) entriesOf(ctx context.Context, file string) (all []entry, err error) {
	for _, r := range w.found.Repositories {
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

// layoutEntries returns the entries that one layout will have after its archive is rewritten. They
// include blobs to which no manifest refers.
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
	raw := slices.Concat([]byte(`{"schemaVersion":2,"mediaType":"`+ocispec.MediaTypeImageIndex+`","manifests":[`), bytes.Join(manifests, []byte(",")), []byte(`]}`))
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
		where, err := l.Locate(ctx, d)
		if err != nil {
			return nil, err
		}
		all = append(all, entry{name: path.Join(r.Path, names.BlobPath(d)), digest: d, where: where})
	}
	return all, nil
}

func (w *work) sizeOfRewritten(ctx context.Context, file string) (int64, error) {
	all, err := w.entriesOf(ctx, file)
	if err != nil {
		return 0, err
	}
	size := int64(2 * tarBlock) // an archive ends with two blocks of zeros
	for _, e := range all {
		var header bytes.Buffer
		if err := tar.NewWriter(&header).WriteHeader(e.header()); err != nil {
			return 0, err
		}
		size += int64(header.Len()) + (e.size()+tarBlock-1)/tarBlock*tarBlock
	}
	return size, nil
}

// rewrite writes a new version of an archive into staging, without its removed images. It verifies every
// digest.
func (w *work) rewrite(ctx context.Context, a Archive) error {
	all, err := w.entriesOf(ctx, a.File)
	if err != nil {
		return err
	}
	locked, ok := w.store.(*directory) // a store in a bucket has no archives
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
	if err := writeTar(ctx, out, all); err != nil {
		out.Discard()
		return err
	}
	return out.Close()
}

func writeTar(ctx context.Context, w io.Writer, all []entry) error {
	t := tar.NewWriter(w)
	for _, e := range all {
		if err := errors.Join(ctx.Err(), t.WriteHeader(e.header())); err != nil {
			return err
		}
		if err := e.copyTo(ctx, t); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
	}
	return t.Close()
}

// copyTo copies the content of an entry to w. If it is a blob, copyTo verifies its digest.
func (e entry) copyTo(ctx context.Context, w io.Writer) error {
	if e.where == nil {
		_, err := w.Write(e.data)
		return err
	}
	in, err := e.where.Open(ctx)
	if err != nil {
		return err
	}
	defer in.Close()
	proving := bundle.NewProvingReader(in, e.digest, e.where.String())
	_, err = io.CopyBuffer(w, struct{ io.Reader }{bundle.WithContext(ctx, proving)}, make([]byte, 1<<20))
	return err
}
