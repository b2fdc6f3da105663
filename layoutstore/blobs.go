package layoutstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// Blob is content that was found for a digest. If descriptors refer to it, at least one states this size.
type Blob struct {
	Digest digest.Digest
	Size   int64 // bytes
	where  extent.List
	bytes  []byte // content of the blob if where is nil
}

// Open opens the blob for reading. The kernel can send a plain file directly: see package extent.
// ctx limits only the opening, not the reading. The error is ErrStale if the blob has changed since
// it was found, the cause of ctx, or the file system's.
func (b *Blob) Open(ctx context.Context) (io.ReadSeekCloser, error) {
	return b.openRange(ctx, 0, b.Size)
}

func (b *Blob) openRange(ctx context.Context, off, n int64) (io.ReadSeekCloser, error) {
	if b.where == nil {
		return readSeekNopCloser{bytes.NewReader(b.bytes)}, nil
	}
	return b.where.OpenRange(ctx, off, n)
}

// Presign returns a URL from which anyone can read the blob, until the URL expires. It sends no
// request. ok is false if the blob is not an object of its own in a bucket. Errors come from
// [bucket.Bucket].
func (b *Blob) Presign(ctx context.Context, expires time.Duration) (url string, ok bool, err error) {
	reader, o, ok := volume.ObjectOf(b.where)
	if !ok {
		return "", false, nil
	}
	signer, ok := reader.(bucket.Bucket)
	if !ok {
		return "", false, nil
	}
	url, err = signer.PresignGet(ctx, o.Key, expires)
	return url, err == nil, err
}

type readSeekNopCloser struct{ io.ReadSeeker }

func (readSeekNopCloser) Close() error { return nil }

// Blob finds the blob d. This may be a manifest, or any blob in the layouts of the repository, even
// one to which no manifest refers. The error is ErrBlobUnknown, ErrSlow, the cause of ctx, or one
// for which [IsExhausted] is true. If a copy exists but cannot be served, the error is a
// *ProblemError that wraps ErrBlobUnknown.
func (r *Repository) Blob(ctx context.Context, d digest.Digest) (*Blob, error) {
	return await(ctx, r.storage, d, func(ctx context.Context) (*Blob, error) { return r.find(ctx, d) }, nil)
}

// Opened is an open blob. The caller must close it.
type Opened struct {
	*Blob
	io.ReadSeekCloser
}

// OpenBlob finds the blob d, and opens it for reading a range. The function part gets the size of the
// blob, and returns the offset and the length of the range; the length may be 0. From a bucket,
// OpenBlob requests only this range. If the file changed after it was found, OpenBlob tries again. It does
// not wait for a blob in the page cache, and waits for a disk no longer than [Options.Patience].
// The errors are those of [Repository.Blob]. If the file changed again, the error is both ErrStale
// and ErrBlobUnknown.
func (r *Repository) OpenBlob(ctx context.Context, d digest.Digest, part func(size int64) (off, n int64)) (Opened, error) {
	if opened, ok := r.openCached(ctx, d, part); ok {
		return opened, nil
	}
	return await(ctx, r.storage, d, func(ctx context.Context) (Opened, error) {
		for again := false; ; again = true {
			b, err := r.find(ctx, d)
			if err != nil {
				return Opened{}, err
			}
			off, n := part(b.Size)
			content, err := b.openRange(ctx, off, n)
			switch {
			case err == nil:
				return Opened{b, content}, nil
			case ctx.Err() != nil:
				return Opened{}, context.Cause(ctx)
			case errors.Is(err, ErrStale) && !again:
			case IsExhausted(err):
				return Opened{}, err
			case errors.Is(err, ErrStale):
				return Opened{}, fmt.Errorf("%s: %w: %w", d, ErrBlobUnknown, err)
			default:
				return Opened{}, fmt.Errorf("%w: %w", ErrBlobUnknown, err)
			}
		}
	}, func(late Opened) { late.Close() })
}

// openCached opens the blob d if this needs no access to a disk. All manifests must have been read
// and agree on the size of the blob. A copy of this size must be in memory, and not in quarantine.
// OpenBlob handles all other cases.
func (r *Repository) openCached(ctx context.Context, d digest.Digest, part func(size int64) (off, n int64)) (Opened, bool) {
	k, _ := keyOf(d)
	t := r.table.Load()
	if t == nil || t.children[k] != nil || r.images.has(k) || r.topManifest(k) != nil {
		return Opened{}, false
	}
	claims := t.claimsOf(k) // the claims are sorted by size
	if len(claims) == 0 || claims[0].size != claims[len(claims)-1].size {
		return Opened{}, false
	}
	size := claims[0].size
	for _, p := range slices.Backward(r.layouts) {
		vol, ok := p.vol.(volume.Cached)
		if !ok || r.quarantine.mayRefuse(p, d) || !p.trust.hasBlob(d) {
			return Opened{}, false
		}
		where := vol.LocateCached(p.path, d, size)
		if where == nil {
			continue
		}
		off, _ := part(size)
		if content, err := where.OpenCachedAt(ctx, off); err == nil {
			return Opened{&Blob{Digest: d, Size: size, where: where}, content}, true
		}
	}
	return Opened{}, false
}

// find is like Blob, but may wait for the storage without a limit.
func (r *Repository) find(ctx context.Context, d digest.Digest) (*Blob, error) {
	b, err := r.blob(ctx, d)
	r.noteRefusal(ctx, err)
	return b, err
}

func (r *Repository) blob(ctx context.Context, d digest.Digest) (*Blob, error) {
	if b, ok := r.images.content(d); ok {
		return &Blob{Digest: d, Size: int64(len(b)), bytes: b}, nil
	}
	k, _ := keyOf(d)
	n, claims := r.topManifest(k), []claim(nil)
	if n == nil {
		t := r.table.Load()
		if t == nil {
			var early *Blob
			var err error
			if t, early, err = r.readTableOrBlob(ctx, d); early != nil || err != nil {
				return early, err
			}
		}
		n, claims = t.children[k], t.claimsOf(k)
	}
	if n != nil {
		m, err := r.load(ctx, n)
		var refused *ProblemError
		switch {
		case errors.As(err, &refused):
			again := *refused
			again.Problem.Err = ErrBlobUnknown
			return nil, &again
		case err != nil:
			return nil, err
		}
		// Serve the verified bytes, because the file may have changed since.
		return &Blob{Digest: d, Size: m.Size, bytes: m.Body}, nil
	}
	where, err := r.locate(ctx, d, claims)
	if errors.Is(err, ErrBlobUnknown) && !errors.As(err, new(*ProblemError)) && !allOptional(claims) {
		err = refuseMissing(d, ErrBlobUnknown)
	}
	if err != nil {
		return nil, err
	}
	return &Blob{Digest: d, Size: where.Size(), where: where}, nil
}

// topManifest returns the node of k if an index.json lists k as a manifest, and nil otherwise.
func (r *Repository) topManifest(k key) *node {
	if n := r.topNode(k); n != nil && n.isManifest() {
		return n
	}
	return nil
}

// locate finds a copy of d that has one of the claimed sizes, or any copy if there are no claims.
// The error is ErrBlobUnknown, the cause of ctx, or one for which [IsExhausted] is true.
func (r *Repository) locate(ctx context.Context, d digest.Digest, claims []claim) (extent.List, error) {
	var worst error = fmt.Errorf("%s: %w", d, ErrBlobUnknown)
	for _, p := range slices.Backward(r.layouts) {
		where, err := Layout{p}.Locate(ctx, d)
		missing, ok := missingProblem(err)
		switch {
		case IsExhausted(err), err != nil && ctx.Err() != nil:
			return nil, err
		case ok:
			needed := len(claims) > 0 && !claims[0].optional
			if errors.As(worst, new(*ProblemError)) || !needed && missing.Kind == Incomplete {
				continue // keep an earlier problem, and report none if nothing needs the blob
			}
			worst = refuse(missing, p.where().blob(d), ErrBlobUnknown)
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			worst = refuseUnreadable(d, err, p.where().blob(d), ErrBlobUnknown)
		case len(claims) > 0 && !hasSize(claims, where.Size()):
			worst = refuseDamaged(d, sizeMismatch(where.Size(), claims[0].size), where, p.where().blob(d), ErrBlobUnknown)
		default:
			reason, wrong, err := r.quarantine.checkCopy(ctx, p, d, where)
			if err != nil {
				return nil, err
			}
			if !wrong {
				return where, nil
			}
			worst = refuseDamaged(d, reason, where, p.where().blob(d), ErrBlobUnknown)
		}
	}
	return nil, worst
}

func hasSize(claims []claim, size int64) bool {
	return slices.ContainsFunc(claims, func(c claim) bool { return c.size == size })
}
