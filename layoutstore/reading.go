package layoutstore

import (
	"context"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// read returns the table, reading all manifests of the repository at the first call.
// No lock is held meanwhile. The error is ErrStale, the cause of ctx or one that
// [Exhausted] knows, and a later call tries again.
func (r *Repository) read(ctx context.Context) (*table, error) {
	if t := r.table.Load(); t != nil {
		return t, nil
	}
	return r.flight.Do(ctx, func(ctx context.Context) (*table, error) {
		if t := r.table.Load(); t != nil {
			return t, nil
		}
		defer r.early.show(nil)
		rd := &reading{builder: newBuilder(r)}
		t := closure.Traversal{Read: r.readOrGap, Visitor: rd, Patience: r.storage.patience / asideShare, Waiting: func() { r.early.show(rd) }}
		// It continues when nobody waits for its end: else nothing would come of a slow disk.
		found, err := t.Run(context.WithoutCancel(ctx), r.tops())
		if err != nil {
			return nil, err
		}
		r.table.Store(rd.builder.finish(found))
		return r.table.Load(), nil
	})
}

// A manifest is waited for, and the others are read meanwhile, when it takes this part of
// the time that a request has.
const asideShare = 20

// reading is a table that is being made.
type reading struct {
	mu      sync.Mutex // guards builder while a blob may ask for it
	builder *builder
}

// Manifest implements [closure.Visitor].
func (rd *reading) Manifest(m *closure.Manifest) {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	rd.builder.add(m)
}

// Blob implements [closure.Visitor].
func (rd *reading) Blob(t closure.Top) {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	k, _ := keyOf(t.Digest)
	for _, size := range t.Sizes {
		rd.builder.blob(closure.Ref{Descriptor: Descriptor{MediaType: t.MediaType, Digest: t.Digest, Size: size}}, rd.builder.repo.topNumber(k))
	}
}

// early shows blobs the reading of a repository that a slow manifest holds up.
type early struct {
	mu      sync.Mutex
	rd      *reading      // nil while none is held up
	changed chan struct{} // closed at the next call of show; nil while nobody waits
}

func (e *early) show(rd *reading) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rd = rd
	if e.changed != nil {
		close(e.changed)
		e.changed = nil
	}
}

func (e *early) get() (*reading, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.changed == nil {
		e.changed = make(chan struct{})
	}
	return e.rd, e.changed
}

// readFor returns the table, or the blob d before it is complete: where the reading of
// some manifest takes long, and one that was read says the size that d has.
func (r *Repository) readFor(ctx context.Context, d digest.Digest) (*table, *Blob, error) {
	type result struct {
		table *table
		err   error
	}
	all := make(chan result, 1)
	go func() {
		t, err := r.read(ctx)
		all <- result{t, err}
	}()
	var last *reading
	from := 0 // of the claims of last
	for {
		rd, changed := r.early.get()
		if rd != nil {
			if rd != last {
				last, from = rd, 0
			}
			if blob := rd.blobSoFar(ctx, d, &from); blob != nil {
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

// blobSoFar is the blob d if a claim behind the first from is right about its size. A
// manifest that was not read may still say that d is a manifest: so what is no longer
// than one may be is proven, and no damaged manifest is sent as a blob.
func (rd *reading) blobSoFar(ctx context.Context, d digest.Digest, from *int) *Blob {
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
	if err != nil || where.Size() <= maxManifest && !proven(where, d) {
		return nil
	}
	return &Blob{Digest: d, Size: where.Size(), where: where}
}

// proven reads a list and says whether its bytes have the digest.
func proven(where extent.List, d digest.Digest) bool {
	r, err := where.Open()
	if err != nil {
		return false
	}
	defer r.Close()
	v := d.Verifier()
	_, err = io.Copy(v, struct{ io.Reader }{r})
	return err == nil && v.Verified()
}
