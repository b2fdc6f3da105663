package layoutstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// Blob is content whose size is what a manifest says, where one says it.
type Blob struct {
	Digest digest.Digest
	Size   int64 // bytes
	where  extent.List
	bytes  []byte // where the blob is none of the tree's
}

// Open opens the blob for reading. A plain file stays one for the kernel: see
// package extent. Errors: ErrStale where it changed since it was found; the file
// system's.
func (b *Blob) Open() (io.ReadSeekCloser, error) { return b.openAt(0) }

func (b *Blob) openAt(off int64) (io.ReadSeekCloser, error) {
	if b.where == nil {
		return readSeekNopCloser{bytes.NewReader(b.bytes)}, nil
	}
	return b.where.OpenAt(off)
}

type readSeekNopCloser struct{ io.ReadSeeker }

func (readSeekNopCloser) Close() error { return nil }

// Blob finds the blob d. It need not be reachable, only lie in the repository;
// a manifest is a blob if it is served as a manifest. Errors: ErrBlobUnknown, as
// *ProblemError where every manifest says another size or the file system fails;
// ErrSlow; those that [Exhausted] knows; the cause of ctx.
func (r *Repository) Blob(ctx context.Context, d digest.Digest) (*Blob, error) {
	return await(ctx, r.storage, d, func(ctx context.Context) (*Blob, error) { return r.find(ctx, d) }, nil)
}

// Opened is a blob that is open. The caller closes it.
type Opened struct {
	*Blob
	io.ReadSeekCloser
}

// OpenBlob finds the blob d and opens it for who will read it from the byte first on, which
// is told how long it is. A file that changed between being found and being opened is looked
// for once more. What the system has in memory is opened at once; for a disk the caller waits
// as long as the patience of the storage lasts. Errors: those of [Repository.Blob]; ErrStale
// and ErrBlobUnknown in one where the file changed again.
func (r *Repository) OpenBlob(ctx context.Context, d digest.Digest, first func(size int64) int64) (Opened, error) {
	if opened, ok := r.openCached(d, first); ok {
		return opened, nil
	}
	return await(ctx, r.storage, d, func(ctx context.Context) (Opened, error) {
		for again := false; ; again = true {
			b, err := r.find(ctx, d)
			if err != nil {
				return Opened{}, err
			}
			content, err := b.openAt(first(b.Size))
			switch {
			case err == nil:
				return Opened{b, content}, nil
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

// openCached opens the blob d if that takes no disk and no doubt: all manifests were read,
// they say that it is a blob of one size, and a copy of that size is there that no
// quarantine holds. Whatever else there is OpenBlob finds out.
func (r *Repository) openCached(d digest.Digest, first func(size int64) int64) (Opened, bool) {
	k, _ := keyOf(d)
	t := r.table.Load()
	if t == nil || t.children[k] != nil || r.images.has(k) || r.topManifest(k) != nil {
		return Opened{}, false
	}
	claims := t.claimsOf(k) // by their sizes
	if len(claims) == 0 || claims[0].size != claims[len(claims)-1].size {
		return Opened{}, false
	}
	size := claims[0].size
	for _, p := range slices.Backward(r.parts) {
		vol, ok := p.vol.(volume.Cached)
		if !ok || r.quarantine.concerns(p, d) {
			return Opened{}, false
		}
		where := vol.LocateCached(p.path, d, size)
		if where == nil {
			continue
		}
		if content, err := where.OpenCachedAt(first(size)); err == nil {
			return Opened{&Blob{Digest: d, Size: size, where: where}, content}, true
		}
	}
	return Opened{}, false
}

// find is Blob without a bound.
func (r *Repository) find(ctx context.Context, d digest.Digest) (*Blob, error) {
	b, err := r.blob(ctx, d)
	if err != nil {
		r.refused(err)
	}
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
			if t, early, err = r.readFor(ctx, d); early != nil || err != nil {
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
		// The bytes that were checked, and not those that a file of the size has now.
		return &Blob{Digest: d, Size: m.Size, bytes: m.Body}, nil
	}
	where, err := r.locate(ctx, d, claims)
	if errors.Is(err, ErrBlobUnknown) && !errors.As(err, new(*ProblemError)) && !optional(claims) {
		err = notThere(d, ErrBlobUnknown)
	}
	if err != nil {
		return nil, err
	}
	return &Blob{Digest: d, Size: where.Size(), where: where}, nil
}

// topManifest is the node of a key if an index.json names it as a manifest, and not as a
// blob.
func (r *Repository) topManifest(k key) *node {
	if n := r.topNode(k); n != nil && n.isManifest() {
		return n
	}
	return nil
}

// locate finds a copy of d that has one of the claimed sizes, or any where none is claimed.
func (r *Repository) locate(ctx context.Context, d digest.Digest, claims []claim) (extent.List, error) {
	var worst error = fmt.Errorf("%s: %w", d, ErrBlobUnknown)
	for _, p := range slices.Backward(r.parts) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		where, err := p.vol.Locate(p.path, d)
		lost, ok := isLost(err)
		switch {
		case IsExhausted(err):
			return nil, err
		case ok:
			needed := len(claims) > 0 && !claims[0].optional
			if errors.As(worst, new(*ProblemError)) || !needed && lost.Kind == Incomplete {
				continue // another layout has it, and wrong; or nothing needs it
			}
			worst = refused(lost, p.where().blob(d), ErrBlobUnknown)
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			worst = unreadable(d, err, p.where().blob(d), ErrBlobUnknown)
		case len(claims) > 0 && !claimed(claims, where.Size()):
			worst = damaged(d, wrongSize(where.Size(), []int64{claims[0].size}), where, p.where().blob(d), ErrBlobUnknown)
		default:
			reason, wrong := r.quarantine.holds(p, d, where)
			if !wrong {
				return where, nil
			}
			worst = damaged(d, reason, where, p.where().blob(d), ErrBlobUnknown)
		}
	}
	return nil, worst
}

// claimed says whether one of some claims about a blob is of the size.
func claimed(claims []claim, size int64) bool {
	return slices.ContainsFunc(claims, func(c claim) bool { return c.size == size })
}
