package layoutstore

import (
	"context"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// readTable returns the table. The first call reads all manifests of the repository. The error
// is ErrStale, the cause of ctx or one for which [IsExhausted] is true; a later call tries
// again.
func (r *Repository) readTable(ctx context.Context) (*table, error) {
	if t := r.table.Load(); t != nil {
		return t, nil
	}
	return r.tableFlight.Do(ctx, func(ctx context.Context) (*table, error) {
		if t := r.table.Load(); t != nil {
			return t, nil
		}
		defer r.unfinished.set(nil)
		b := newBuilder(r)
		t := closure.Traversal{Read: r.manifestReader(nil), Visitor: b, Patience: r.storage.patience / patienceShare, Waiting: func() { r.unfinished.set(b) }}
		// It continues after its callers have left: else a slow disk would never be read to the end.
		found, err := t.Run(context.WithoutCancel(ctx), r.tops())
		if err != nil {
			return nil, err
		}
		r.table.Store(b.finish(found))
		return r.table.Load(), nil
	})
}

// patienceShare divides a request's patience: if a manifest takes longer than 1/20 of it, a
// traversal meanwhile continues with others.
const patienceShare = 20

// unfinishedTable gives requests for blobs access to a table that a slow manifest delays.
type unfinishedTable struct {
	mu      sync.Mutex
	builder *builder      // nil while no manifest is slow
	changed chan struct{} // closed at the next call of set; nil without waiting callers
}

func (u *unfinishedTable) set(b *builder) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.builder = b
	if u.changed != nil {
		close(u.changed)
		u.changed = nil
	}
}

func (u *unfinishedTable) get() (*builder, <-chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.changed == nil {
		u.changed = make(chan struct{})
	}
	return u.builder, u.changed
}

// readTableOrBlob returns the table. While a manifest is slow, it may return the blob d instead: if
// a manifest that was read states its size. Errors: those of readTable.
func (r *Repository) readTableOrBlob(ctx context.Context, d digest.Digest) (*table, *Blob, error) {
	type result struct {
		table *table
		err   error
	}
	all := make(chan result, 1)
	go func() {
		t, err := r.readTable(ctx)
		all <- result{t, err}
	}()
	var last *builder
	from := 0 // number of claims of last that were searched
	for {
		b, changed := r.unfinished.get()
		if b != nil {
			if b != last {
				last, from = b, 0
			}
			if blob := b.findBlob(ctx, d, &from); blob != nil {
				return nil, blob, nil
			}
		}
		select {
		case a := <-all:
			return a.table, nil, a.err
		case <-changed:
		}
	}
}

// findBlob returns the blob d if a claim from number *from on has its size, or nil, and sets
// *from to the number of claims. A manifest that is not read yet may name d as a manifest. So
// content short enough for a manifest is verified: no damaged manifest is sent as a blob.
func (b *builder) findBlob(ctx context.Context, d digest.Digest, from *int) *Blob {
	k, _ := keyOf(d)
	var claims []claim
	b.mu.Lock()
	t := b.table
	child := t.children[k] != nil
	for _, c := range t.claims[min(*from, len(t.claims)):] {
		if c.key == k {
			claims = append(claims, c)
		}
	}
	*from = len(t.claims)
	b.mu.Unlock()
	if child || len(claims) == 0 {
		return nil
	}
	where, err := b.repo.locate(ctx, d, claims)
	if err != nil || where.Size() <= maxManifest && !matchesDigest(ctx, where, d) {
		return nil
	}
	return &Blob{Digest: d, Size: where.Size(), where: where}
}

// matchesDigest reads a list and reports whether its content has the digest.
func matchesDigest(ctx context.Context, where extent.List, d digest.Digest) bool {
	r, err := where.Open(ctx)
	if err != nil {
		return false
	}
	defer r.Close()
	v := d.Verifier()
	_, err = io.Copy(v, struct{ io.Reader }{r})
	return err == nil && v.Verified()
}
