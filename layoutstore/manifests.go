package layoutstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// maxManifest is the maximum size of a manifest in bytes. The distribution specification requires a
// limit of at least 4 MiB, and containerd accepts at most 8 MiB.
const maxManifest = 8 << 20

// Manifest is a manifest or index. Its content matches its digest, and its size matches a
// descriptor. Do not change Body or Texts.
type Manifest struct {
	Descriptor
	Body  []byte
	Texts ManifestTexts
}

// ManifestTexts are the values of HTTP headers that describe a manifest. They are made once per
// manifest. Each is an array, because the value of a header is a list.
type ManifestTexts struct{ MediaType, Digest, QuotedDigest, Size [1]string }

func newManifest(d Descriptor, body []byte) *Manifest {
	quoted := `"` + string(d.Digest) + `"`
	d.Digest = digest.Digest(quoted[1 : len(quoted)-1]) // shares the memory of quoted
	return &Manifest{d, body, ManifestTexts{
		MediaType: [1]string{d.MediaType}, Digest: [1]string{string(d.Digest)}, QuotedDigest: [1]string{quoted}, Size: [1]string{strconv.FormatInt(d.Size, 10)},
	}}
}

// Manifest returns the manifest d if it is reachable from an index.json, directly or through other
// manifests. If not, the error is ErrManifestUnknown. A *ProblemError wraps it if d is reachable,
// but no copy is intact. Other errors are ErrStale if a refresh is due, ErrSlow, the cause of ctx,
// and errors for which [IsExhausted] is true.
func (r *Repository) Manifest(ctx context.Context, d digest.Digest) (*Manifest, error) {
	if m := r.cachedManifest(d); m != nil {
		return m, nil
	}
	return await(ctx, r.storage, d, func(ctx context.Context) (*Manifest, error) {
		m, err := r.manifest(ctx, d)
		r.noteRefusal(ctx, err)
		return m, err
	}, nil)
}

// TagManifest returns the manifest with a tag. If there is no such tag, the error is
// ErrManifestUnknown. Other errors are those of [Repository.Manifest].
func (r *Repository) TagManifest(ctx context.Context, tag string) (*Manifest, error) {
	n, err := r.tagNode(tag)
	if err != nil {
		return nil, err
	}
	if m := n.cached.Load(); m != nil {
		return m, nil
	}
	return r.Manifest(ctx, n.digest())
}

// cachedManifest returns the manifest d from the cache, or nil if the cache does not have it.
func (r *Repository) cachedManifest(d digest.Digest) *Manifest {
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
	return n.cached.Load()
}

func (r *Repository) manifest(ctx context.Context, d digest.Digest) (*Manifest, error) {
	k, _ := keyOf(d)
	n := r.topNode(k)
	if n == nil {
		t, err := r.readTable(ctx)
		if err != nil {
			return nil, err
		}
		if n = t.children[k]; n == nil {
			return nil, fmt.Errorf("%s: %w", d, ErrManifestUnknown)
		}
	}
	return r.load(ctx, n)
}

// load returns the manifest of a node. If the cache does not have it, load reads and checks it.
func (r *Repository) load(ctx context.Context, n *node) (*Manifest, error) {
	if m := n.cached.Load(); m != nil {
		return m, nil
	}
	d := n.digest()
	body, err := r.readManifest(ctx, d, nil)
	if err != nil {
		return nil, err
	}
	size := int64(len(body))
	if !slices.Contains(n.sizes(), size) {
		// Read all manifests, because a descriptor in a nested index may have the right size.
		t, err := r.readTable(ctx)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(t.findings[n].sizes, size) {
			return nil, refuseDamaged(d, sizeMismatch(size, n.sizes()[0]), nil, r.namedBy(n).where().blob(d), ErrManifestUnknown)
		}
	}
	mediaType, err := r.mediaType(ctx, n, body)
	if err != nil {
		return nil, err
	}
	m := newManifest(Descriptor{MediaType: mediaType, Digest: d, Size: size}, body)
	r.cache.add(n, m)
	return m, nil
}

// mediaType returns the media type of a manifest. body is its verified content. mediaType fails if
// the content is ambiguous or contradicts the descriptors.
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
		// Read all manifests, because a descriptor in a nested index may have the right type.
		if t, err = r.readTable(ctx); err != nil {
			return "", err
		}
	}
	mediaType, err := t.mediaType(n, body)
	if err != nil {
		d := n.digest()
		return "", refuseDamaged(d, err.Error(), nil, r.namedBy(n).where().blob(d), ErrManifestUnknown)
	}
	return mediaType, nil
}

// mediaType returns the media type that was found when all manifests were read. It parses body only
// if the manifest was unreadable at that time, or if an index.json lists it as a blob.
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

// ManifestBytes returns the content of a manifest in the repository's graph. It verifies the
// digest, but does not parse the content, because the graph has the parsed manifest. The errors are
// those of [Repository.Manifest].
func (r *Repository) ManifestBytes(ctx context.Context, d digest.Digest) ([]byte, error) {
	return await(ctx, r.storage, d, func(ctx context.Context) ([]byte, error) { return r.readManifest(ctx, d, nil) }, nil)
}

// noteRead is called for each copy of a manifest that was read. The error is the problem of the
// copy, or nil if it is intact.
type noteRead func(*indexedLayout, digest.Digest, *ProblemError)

// readManifest reads copies of the manifest d, from the last layout on, until one is intact. note
// may be nil. The error is a *ProblemError, ErrStale, the cause of ctx, or one for which
// [IsExhausted] is true.
func (r *Repository) readManifest(ctx context.Context, d digest.Digest, note noteRead) ([]byte, error) {
	if note == nil {
		note = func(*indexedLayout, digest.Digest, *ProblemError) {}
	}
	if b, ok := r.images.content(d); ok {
		return b, nil
	}
	worst := refuseMissing(d, ErrManifestUnknown)
	for _, p := range slices.Backward(r.layouts) {
		body, err := p.manifest(ctx, d)
		missing, ok := missingProblem(err)
		var refusal *ProblemError
		switch {
		case err != nil && ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err == nil:
			note(p, d, nil)
			return body, nil
		case ok:
			if worst.Problem.Path == "" { // do not replace the problem of a damaged copy in a different layout
				worst = refuse(missing, p.where().blob(d), ErrManifestUnknown)
			}
		case errors.As(err, &refusal):
			worst = refusal
			if refusal.Problem.Kind != Limited { // a manifest that is too large was not read
				note(p, d, refusal)
			}
		case IsExhausted(err), errors.Is(err, ErrStale):
			return nil, err
		case !errors.Is(err, fs.ErrNotExist):
			worst = refuseUnreadable(d, err, p.where().blob(d), ErrManifestUnknown)
			note(p, d, worst)
		}
	}
	return nil, worst
}

// manifest reads the manifest d from a layout, and checks its digest. If the file changes during
// the read, manifest tries once more.
func (p *indexedLayout) manifest(ctx context.Context, d digest.Digest) ([]byte, error) {
	var body []byte
	where, err := Layout{p}.Locate(ctx, d)
	if err != nil {
		return nil, err
	}
	if size := where.Size(); size > maxManifest {
		return nil, refuse(Problem{Kind: Limited, Digest: d, Reason: fmt.Sprintf("%d bytes, more than the %d that a manifest may have", size, maxManifest)}, p.where().blob(d), ErrManifestUnknown)
	}
	if body, err = where.ReadAll(ctx); errors.Is(err, extent.ErrStale) {
		if where, err = (Layout{p}).Locate(ctx, d); err == nil && where.Size() <= maxManifest {
			body, err = where.ReadAll(ctx)
		}
	}
	if err != nil {
		return nil, err
	}
	if got := d.Algorithm().FromBytes(body); got != d {
		return nil, refuseDamaged(d, "checksum mismatch: content is "+string(got), where, p.where().blob(d), ErrManifestUnknown)
	}
	return body, nil
}

// sizeMismatch returns the reason for content whose size differs from the claimed size, in bytes.
func sizeMismatch(have, claimed int64) string {
	return fmt.Sprintf("%d bytes, the descriptor says %d", have, claimed)
}

// manifestCache limits the memory for the manifests that nodes cache, in bytes. Only adding a
// manifest takes the lock.
type manifestCache struct {
	mu    sync.Mutex
	limit int
	used  int
	nodes []*node // oldest first
}

// add caches m in n. If the limit is exceeded, it evicts the manifests that were added first.
func (c *manifestCache) add(n *node, m *Manifest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(m.Body) > c.limit || !n.cached.CompareAndSwap(nil, m) {
		return
	}
	c.used += len(m.Body)
	c.nodes = append(c.nodes, n)
	for c.used > c.limit {
		oldest := c.nodes[0]
		c.nodes[0], c.nodes = nil, c.nodes[1:]
		c.used -= len(oldest.cached.Swap(nil).Body)
	}
}
