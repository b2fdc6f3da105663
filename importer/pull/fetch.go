package pull

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// Meter receives the progress of a pull. Its methods must be safe for concurrent calls.
type Meter interface {
	// Add counts bytes that were received or are already stored.
	Add(n int64)
}

type fetcher struct {
	registry *client.Client
	work     *work
	meter    Meter
}

// maxWrong is the maximum number of repositories from which wrong content of a blob is fetched. Hundreds of
// repositories may share a blob, and most registries store it only once for all of them.
const maxWrong = 2

// fetch fetches a blob from the first repository that has it intact. It resumes an interrupted download,
// and verifies the blob while writing it. If the registry keeps sending wrong content, it fails
// with *bundle.DigestError. Other errors come from the client and the file system.
func (f *fetcher) fetch(ctx context.Context, b closure.Descriptor, repositories []string) error {
	if f.work.hasBlob(b.Digest, b.Size) {
		f.meter.Add(b.Size)
		return nil
	}
	var absent, damaged error
	wrong := 0
	for _, repository := range repositories {
		switch err := f.fetchFrom(ctx, repository, b); {
		case IsAbsent(err):
			absent = err
		case isDamaged(err):
			damaged = cmp.Or(damaged, err)
			if wrong++; wrong == maxWrong {
				return damaged
			}
		default:
			return err
		}
	}
	return cmp.Or(damaged, absent)
}

// isDamaged reports whether an error means that the registry keeps sending wrong content.
func isDamaged(err error) bool {
	return bundle.IsDigestError(err) || errors.Is(err, client.ErrMismatch)
}

// fetchFrom fetches a blob from one repository. If the content is wrong, it fetches the blob again,
// bypassing caches, before it gives up.
func (f *fetcher) fetchFrom(ctx context.Context, repository string, b closure.Descriptor) error {
	return f.registry.RetryMismatch(ctx, bundle.IsDigestError, func(fresh bool) error {
		resumed, err := f.fetchMissing(ctx, repository, b, fresh)
		if resumed && bundle.IsDigestError(err) { // the part from the earlier attempt may be damaged
			_, err = f.fetchMissing(ctx, repository, b, fresh)
		}
		return err
	})
}

// fetchMissing resumes the download of a blob. resumed reports that an earlier attempt had already
// stored a part. If the content is wrong, fetchMissing removes the part.
func (f *fetcher) fetchMissing(ctx context.Context, repository string, b closure.Descriptor, fresh bool) (resumed bool, err error) {
	part, err := os.OpenFile(f.work.part(b.Digest), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return false, err
	}
	defer part.Close()
	sum := b.Digest.Algorithm().Digester()
	have, err := f.work.copy(sum.Hash(), bundle.WithContext(ctx, part))
	if err != nil {
		return false, err
	}
	if have > b.Size {
		sum, have = b.Digest.Algorithm().Digester(), 0
		_, err := part.Seek(0, io.SeekStart)
		if err := errors.Join(err, part.Truncate(0)); err != nil {
			return false, err
		}
	}
	f.meter.Add(have)
	if err := f.fetchRest(ctx, repository, b, part, sum.Hash(), have, fresh); err != nil {
		return have > 0, err
	}
	if got := sum.Digest(); got != b.Digest {
		f.meter.Add(-b.Size)
		wrong := &bundle.DigestError{Want: b.Digest, Got: got, Size: b.Size, From: f.registry.Registry() + "/" + repository}
		return have > 0, errors.Join(wrong, os.Remove(part.Name()))
	}
	if err := part.Close(); err != nil {
		return have > 0, err
	}
	f.work.markProven(b.Digest)
	return have > 0, os.Rename(part.Name(), f.work.blob(b.Digest))
}

// fetchRest fetches a blob from the offset in have to its end, and appends the bytes to the part.
func (f *fetcher) fetchRest(ctx context.Context, repository string, b closure.Descriptor, part *os.File, sum io.Writer, have int64, fresh bool) (err error) {
	if have == b.Size && have > 0 {
		return nil
	}
	open := f.registry.Blob
	if fresh {
		open = f.registry.FreshBlob
	}
	r, err := open(ctx, repository, b.Digest, b.Size, have)
	if err != nil {
		f.meter.Add(-have) // the next attempt counts these bytes again
		return err
	}
	defer r.Close()
	n, err := f.work.copy(io.MultiWriter(part, sum, counter{f.meter}), r)
	if err == nil && have+n != b.Size {
		err = fmt.Errorf("%s: received %d bytes, but the manifest states a size of %d bytes: %w", b.Digest, have+n, b.Size, io.ErrUnexpectedEOF)
	}
	if err != nil {
		f.meter.Add(-have - n) // the next attempt counts these bytes again
	}
	return err
}

// counter is a writer that counts the bytes it receives.
type counter struct{ meter Meter }

func (c counter) Write(p []byte) (int, error) {
	c.meter.Add(int64(len(p)))
	return len(p), nil
}

// copyBlob copies a blob into the working directory from elsewhere on disk. It reports whether the
// copy has the right digest. If the digest is wrong, it keeps any part from an earlier pull.
func (f *fetcher) copyBlob(ctx context.Context, where extent.List, b closure.Descriptor) (bool, error) {
	r, err := where.Open(ctx)
	if err != nil {
		return false, ctx.Err() // the caller will fetch the blob instead
	}
	defer r.Close()
	part := f.work.part(b.Digest)
	temp, err := os.Create(part + ".copy")
	if err != nil {
		return false, err
	}
	v := b.Digest.Verifier()
	_, err = f.work.copy(io.MultiWriter(temp, v), bundle.WithContext(ctx, r))
	if err := temp.Close(); err != nil {
		return false, err
	}
	if err != nil || !v.Verified() {
		return false, errors.Join(ctx.Err(), os.Remove(temp.Name()))
	}
	f.work.markProven(b.Digest)
	if err := os.Rename(temp.Name(), f.work.blob(b.Digest)); err != nil {
		return false, err
	}
	return true, os.RemoveAll(part) // the part may not exist
}
