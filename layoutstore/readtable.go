package layoutstore

import (
	"context"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// readTable returns the table. The first call reads all manifests of the repository,
// without holding a lock. The error is ErrStale, the cause of ctx or one for which
// [IsExhausted] is true; a later call tries again.
func (r *Repository) readTable(ctx context.Context) (*table, error) {
	if t := r.table.Load(); t != nil {
		return t, nil
	}
	return r.tableFlight.Do(ctx, func(ctx context.Context) (*table, error) {
		if t := r.table.Load(); t != nil {
			return t, nil
		}
		defer r.unfinished.set(nil)
		rd := &tableReader{builder: newBuilder(r)}
		t := closure.Traversal{Read: r.readForTraversal, Visitor: rd, Patience: r.storage.patience / asideShare, Waiting: func() { r.unfinished.set(rd) }}
		// It continues without waiting callers, or a slow disk would never be read to the end.
		found, err := t.Run(context.WithoutCancel(ctx), r.tops())
		if err != nil {
			return nil, err
		}
		r.table.Store(rd.builder.finish(found))
		return r.table.Load(), nil
	})
}

// asideShare is the part of a request's time that a manifest may take before the others
// are read meanwhile.
const asideShare = 20

// tableReader builds a table from a traversal.
type tableReader struct {
	mu      sync.Mutex // guards builder while a blob may ask for it
	builder *builder
}

// Manifest implements [closure.Visitor].
func (rd *tableReader) Manifest(m *closure.Manifest) {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	rd.builder.addManifest(m)
}

// Blob implements [closure.Visitor].
func (rd *tableReader) Blob(t closure.Top) {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	k, _ := keyOf(t.Digest)
	for _, size := range t.Sizes {
		rd.builder.addBlob(closure.Ref{Descriptor: Descriptor{MediaType: t.MediaType, Digest: t.Digest, Size: size}}, rd.builder.repo.topNumber(k))
	}
}

// unfinishedTable gives requests for blobs access to a table that a slow manifest delays.
type unfinishedTable struct {
	mu      sync.Mutex
	rd      *tableReader  // nil while none is delayed
	changed chan struct{} // closed at the next call of set; nil without waiting callers
}

func (e *unfinishedTable) set(rd *tableReader) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rd = rd
	if e.changed != nil {
		close(e.changed)
		e.changed = nil
	}
}

func (e *unfinishedTable) get() (*tableReader, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.changed == nil {
		e.changed = make(chan struct{})
	}
	return e.rd, e.changed
}

// readTableOrBlob returns the table, or the blob d before the table is complete: if a
// manifest is slow, and one that was read has the size of d.
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
	var last *tableReader
	from := 0 // of the claims of last
	for {
		rd, changed := r.unfinished.get()
		if rd != nil {
			if rd != last {
				last, from = rd, 0
			}
			if blob := rd.findBlob(ctx, d, &from); blob != nil {
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

// findBlob returns the blob d if a claim after the first from has its size. An unread
// manifest may still say that d is a manifest. So content short enough for a manifest is
// verified, and no damaged manifest is sent as a blob.
func (rd *tableReader) findBlob(ctx context.Context, d digest.Digest, from *int) *Blob {
	k, _ := keyOf(d)
	var claims []claim
	rd.mu.Lock()
	repo, t := rd.builder.repo, rd.builder.table
	child := t.children[k] != nil
	for _, c := range t.claims[min(*from, len(t.claims)):] {
		if c.key == k {
			claims = append(claims, c)
		}
	}
	*from = len(t.claims)
	rd.mu.Unlock()
	if child || len(claims) == 0 {
		return nil
	}
	where, err := repo.locate(ctx, d, claims)
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
