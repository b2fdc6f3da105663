package layoutstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// maxManifest is the longest manifest that is read. The distribution
// specification asks for 4 MiB at least; containerd takes 8 MiB at most.
const maxManifest = 8 << 20

// Manifest is a manifest or index whose bytes match its digest and a descriptor's size.
type Manifest struct {
	Descriptor
	Body []byte // not to be changed
}

// Manifest returns the manifest d if it is reachable from an index.json: named
// there, or a child of one that is. Errors: ErrManifestUnknown, as *ProblemError
// where the tree names it and does not hold it as it should; ErrStale where a
// refresh is due; ErrSlow; those that [Exhausted] knows; the cause of ctx.
func (r *Repository) Manifest(ctx context.Context, d digest.Digest) (*Manifest, error) {
	if m := r.kept(d); m != nil {
		return m, nil
	}
	return await(ctx, r.storage, d, func(ctx context.Context) (*Manifest, error) {
		m, err := r.manifest(ctx, d)
		if err != nil {
			r.refused(err)
		}
		return m, err
	}, nil)
}

// kept is the manifest d where it is in memory.
func (r *Repository) kept(d digest.Digest) *Manifest {
	k, _ := keyOf(d)
	n := r.topNode(k)
	if n == nil {
		if t := r.table.Load(); t != nil {
			n = t.children[k]
		}
	}
	if n == nil {
		return nil
	}
	return n.kept.Load()
}

func (r *Repository) manifest(ctx context.Context, d digest.Digest) (*Manifest, error) {
	k, _ := keyOf(d)
	n := r.topNode(k)
	if n == nil {
		t, err := r.read(ctx)
		if err != nil {
			return nil, err
		}
		if n = t.children[k]; n == nil {
			return nil, fmt.Errorf("%s: %w", d, ErrManifestUnknown)
		}
	}
	return r.load(ctx, n)
}

// load is the manifest of a node, its bytes checked.
func (r *Repository) load(ctx context.Context, n *node) (*Manifest, error) {
	if m := n.kept.Load(); m != nil {
		return m, nil
	}
	d := n.digest()
	body, err := r.readManifest(ctx, d)
	if err != nil {
		return nil, err
	}
	size := int64(len(body))
	if !slices.Contains(n.sizes(), size) {
		// An index deeper down may tell the truth.
		t, err := r.read(ctx)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(t.findings[n].sizes, size) {
			return nil, damaged(d, wrongSize(size, n.sizes()), nil, r.namedBy(n).where().blob(d), ErrManifestUnknown)
		}
	}
	mediaType, err := r.mediaType(ctx, n, body)
	if err != nil {
		return nil, err
	}
	m := &Manifest{Descriptor{MediaType: mediaType, Digest: d, Size: size}, body}
	r.cache.keep(n, m)
	return m, nil
}

// mediaType is that of a manifest with the bytes, which have its digest. The error says
// that it contradicts its descriptors, or could be taken for two different things.
func (r *Repository) mediaType(ctx context.Context, n *node, body []byte) (string, error) {
	if r.images.has(n.first.key) {
		return n.mediaType(), nil
	}
	t := r.table.Load()
	if t == nil {
		_, mediaType, _, err := closure.ParseAs(body, n.types()...)
		if err == nil {
			return mediaType, nil
		}
		// An index deeper down may tell the truth.
		if t, err = r.read(ctx); err != nil {
			return "", err
		}
	}
	mediaType, err := t.mediaType(n, body)
	if err != nil {
		d := n.digest()
		return "", damaged(d, err.Error(), nil, r.namedBy(n).where().blob(d), ErrManifestUnknown)
	}
	return mediaType, nil
}

// mediaType is what was found when all manifests were read: the bytes of a digest are the
// same ever after. One that could not be read then, or that an index.json names for
// itself, is looked at now.
func (t *table) mediaType(n *node, body []byte) (string, error) {
	f, found := t.findings[n]
	if !found {
		f.types, f.mediaType = n.types(), n.mediaType()
	}
	if !n.isManifest() || f.unread {
		_, mediaType, _, err := closure.ParseAs(body, f.types...)
		return mediaType, err
	}
	return f.mediaType, f.refused
}

// readManifest reads the manifest d from the first layout that has it right.
func (r *Repository) readManifest(ctx context.Context, d digest.Digest) ([]byte, error) {
	return r.readCopies(ctx, d, nil)
}

// ManifestBytes are the bytes of a manifest that the closure of the repository has, proven
// by their digest. They are not parsed: whoever has the closure knows what they say. Errors:
// those of [Repository.Manifest].
func (r *Repository) ManifestBytes(ctx context.Context, d digest.Digest) ([]byte, error) {
	return await(ctx, r.storage, d, func(ctx context.Context) ([]byte, error) { return r.readManifest(ctx, d) }, nil)
}

// noteRead takes a copy of a manifest that was read to its end or failed in that, with what
// is wrong with it, or nil.
type noteRead func(*part, digest.Digest, *ProblemError)

// readCopies reads copies of the manifest d, those of later layouts first, until one is
// right. note may be nil.
func (r *Repository) readCopies(ctx context.Context, d digest.Digest, note noteRead) ([]byte, error) {
	if note == nil {
		note = func(*part, digest.Digest, *ProblemError) {}
	}
	if b, ok := r.images.content(d); ok {
		return b, nil
	}
	worst := notThere(d, ErrManifestUnknown)
	for _, p := range slices.Backward(r.parts) {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		body, err := p.manifest(d)
		lost, ok := isLost(err)
		var refusal *ProblemError
		switch {
		case err == nil:
			note(p, d, nil)
			return body, nil
		case ok:
			if placeOf(worst.Problem) == (place{}) { // else another layout has it, and wrong
				worst = refused(lost, p.where().blob(d), ErrManifestUnknown)
			}
		case errors.As(err, &refusal):
			worst = refusal
			if refusal.Problem.Kind != Limited { // that one was not read
				note(p, d, refusal)
			}
		case IsExhausted(err), errors.Is(err, ErrStale):
			return nil, err
		case !errors.Is(err, fs.ErrNotExist):
			worst = unreadable(d, err, p.where().blob(d), ErrManifestUnknown)
			note(p, d, worst)
		}
	}
	return nil, worst
}

// manifest reads the manifest d from a layout and checks its digest. A file that
// changes under us is looked for once more.
func (p *part) manifest(d digest.Digest) ([]byte, error) {
	var body []byte
	where, err := p.vol.Locate(p.path, d)
	if err != nil {
		return nil, err
	}
	if size := where.Size(); size > maxManifest {
		return nil, refused(Problem{Kind: Limited, Digest: d, Reason: fmt.Sprintf("%d bytes, more than the %d that a manifest may have", size, maxManifest)}, p.where().blob(d), ErrManifestUnknown)
	}
	if body, err = where.ReadAll(); errors.Is(err, extent.ErrStale) {
		if where, err = p.vol.Locate(p.path, d); err == nil && where.Size() <= maxManifest {
			body, err = where.ReadAll()
		}
	}
	if err != nil {
		return nil, err
	}
	if got := d.Algorithm().FromBytes(body); got != d {
		return nil, damaged(d, wrongBytes(got), where, p.where().blob(d), ErrManifestUnknown)
	}
	return body, nil
}

// wrongBytes is the reason of content that its digest disproves.
func wrongBytes(got digest.Digest) string {
	return fmt.Sprintf("checksum mismatch: content is %s", got)
}

func wrongSize(have int64, claimed []int64) string {
	return fmt.Sprintf("%d bytes, the descriptor says %d", have, claimed[0])
}
