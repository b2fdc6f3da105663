package layoutstore

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// read returns the contents, reading all manifests of the repository at the first call.
// No lock is held meanwhile, and the reading goes on when the caller does not wait for
// its end. The error is ErrStale, the cause of ctx or one that [Exhausted] knows, and a
// later call tries again.
func (r *Repository) read(ctx context.Context) (*contents, error) {
	if c := r.contents.Load(); c != nil {
		return c, nil
	}
	return r.flight.Do(ctx, func(context.Context) (*contents, error) {
		if c := r.contents.Load(); c != nil {
			return c, nil
		}
		rd := newReading(r)
		if err := rd.all(); err != nil {
			return nil, err
		}
		r.contents.Store(rd.contents)
		return rd.contents, nil
	})
}

func newReading(r *Repository) *reading {
	return &reading{repo: r, late: make(chan body), contents: &contents{
		children:  map[digest.Digest]*node{},
		sizes:     map[digest.Digest][]int64{},
		types:     map[digest.Digest][]string{},
		odd:       map[key]digest.Digest{},
		referrers: map[digest.Digest][]*node{},
		refused:   map[digest.Digest]error{},
		right:     map[digest.Digest]string{},
	}}
}

// reading walks from the indexes to everything that they lead to, breadth first:
// how deep indexes nest is up to whoever made them.
type reading struct {
	repo *Repository
	late chan body // of manifests that were set aside
	wait *time.Timer

	mu        sync.Mutex // guards what follows while a blob may ask for it
	*contents            // as far as it is known
	todo      []visit
	have      map[digest.Digest]manifestRead // of each manifest that was read
}

// body is what reading the manifest of a visit gave.
type body struct {
	visit visit
	bytes []byte
	err   error
}

// A manifest is set aside, and the others are read meanwhile, when it takes this part of
// the time that a request has; at most maxAside at a time.
const (
	asideShare = 20
	maxAside   = 8
)

// visitAll reads the manifest of each visit, and of those that come of them.
func (rd *reading) visitAll() error {
	aside := 0
	defer func() {
		rd.repo.early.show(nil)
		if aside > 0 { // an error: nobody takes what comes
			go func(n int) {
				for range n {
					<-rd.late
				}
			}(aside)
		}
	}()
	for i := 0; i < len(rd.todo) || aside > 0; {
		var b body
		if i < len(rd.todo) && aside < maxAside {
			var later bool
			b, later = rd.body(rd.todo[i])
			i++
			if later {
				aside++
				rd.repo.early.show(rd)
				continue
			}
		} else {
			b = <-rd.late
			aside--
		}
		rd.mu.Lock()
		err := rd.take(b)
		rd.mu.Unlock()
		if err != nil {
			return err
		}
		if aside > 0 {
			rd.repo.early.show(rd)
		}
	}
	return nil
}

// body reads the manifest of a visit, and says whether it takes so long that it comes later.
func (rd *reading) body(v visit) (b body, later bool) {
	patience := rd.repo.storage.patience / asideShare
	if _, synthetic := rd.repo.synthetic[v.node.digest]; synthetic || patience == 0 {
		data, err := rd.repo.readManifest(v.node.digest)
		return body{v, data, err}, false
	}
	now, hurry := make(chan body), make(chan struct{})
	go func() {
		data, err := rd.repo.readManifest(v.node.digest)
		select {
		case now <- body{v, data, err}:
		case <-hurry:
			rd.late <- body{v, data, err}
		}
	}()
	if rd.wait == nil {
		rd.wait = time.NewTimer(patience)
	} else {
		rd.wait.Reset(patience)
	}
	select {
	case b := <-now:
		rd.wait.Stop()
		return b, false
	case <-rd.wait.C:
		close(hurry)
		return body{}, true
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

// readFor returns the contents, or the blob d before they are known: where the reading of
// some manifest takes long, and one that was read says the size that d has.
func (r *Repository) readFor(ctx context.Context, d digest.Digest) (*contents, *Blob, error) {
	type result struct {
		contents *contents
		err      error
	}
	all := make(chan result, 1)
	go func() {
		c, err := r.read(ctx)
		all <- result{c, err}
	}()
	var last *reading
	from := 0 // of the claims of last
	for {
		rd, changed := r.early.get()
		if rd != nil {
			if rd != last {
				last, from = rd, 0
			}
			if blob := rd.blobSoFar(d, &from); blob != nil {
				return nil, blob, nil
			}
		}
		select {
		case c := <-all:
			return c.contents, nil, c.err
		case <-changed:
		}
	}
}

// blobSoFar is the blob d if a claim behind the first from is right about its size. A
// manifest that was not read may still say that d is a manifest: so what is no longer
// than one may be is proven, and no damaged manifest is sent as a blob.
func (rd *reading) blobSoFar(d digest.Digest, from *int) *Blob {
	k, _ := keyOf(d)
	var claims []claim
	rd.mu.Lock()
	child := rd.children[d] != nil
	for _, c := range rd.claims[min(*from, len(rd.claims)):] {
		if c.key == k {
			claims = append(claims, c)
		}
	}
	*from = len(rd.claims)
	rd.mu.Unlock()
	if child || len(claims) == 0 {
		return nil
	}
	where, err := rd.repo.locate(d, claims)
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

// take takes in what a visit found.
func (rd *reading) take(b body) error {
	d := b.visit.node.digest
	var refused *ProblemError
	switch {
	case errors.As(b.err, &refused):
		rd.broken = append(rd.broken, d)
		rd.problem(refused.Problem, b.visit.owner)
		return nil
	case b.err != nil:
		return b.err
	}
	rd.parse(b)
	return nil
}
