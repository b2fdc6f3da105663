package layoutstore

import (
	"context"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// readTable returns the table of the repository. The first call reads all manifests. The error is
// ErrStale, the cause of ctx, or one for which [IsExhausted] is true. After an error, the next call
// tries again.
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
		// Continue when callers have given up. Otherwise, a slow disk would never be read completely.
		found, err := t.Run(context.WithoutCancel(ctx), r.tops())
		if err != nil {
			return nil, err
		}
		r.table.Store(b.finish(found))
		return r.table.Load(), nil
	})
}

// patienceShare divides a request's patience. If a manifest takes longer than 1/patienceShare of
// the patience, a traversal continues with other manifests.
const patienceShare = 20

// unfinishedTable lets requests for blobs use an unfinished table, while a slow manifest delays it.
type unfinishedTable struct {
	mu      sync.Mutex
	builder *builder      // builder of the table; nil if no manifest is slow
	changed chan struct{} // closed by the next call of set; nil if nobody waits for it
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

// readTableOrBlob returns the table or, while a manifest is slow, the blob d. It can return the
// blob if a manifest that was already read states its size. The errors are those of readTable.
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
	from := 0 // number of claims in last that findBlob has already searched
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

// findBlob returns the blob d, or nil if no claim states its size. It searches the claims from
// number *from on, and then sets *from to the number of claims. A manifest that was not read yet
// may refer to d as a manifest. So findBlob verifies content that is short enough for a manifest: a
// damaged manifest must not be sent as a blob.
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

// matchesDigest reads the content at where, and reports whether it matches the digest.
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
