package closure

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// Top is where a traversal begins: the descriptors of one digest in index.json files.
type Top struct {
	Digest    digest.Digest
	MediaType string
	Others    []string // further media types that its descriptors state, each once
	Sizes     []int64  // that its descriptors state, each once; bytes. If there are none, no size is checked
	Tags      []string // that lead to it, sorted
}

// Read returns the bytes of a manifest, verified against its digest. unavailable is why it
// cannot; err ends the traversal.
type Read func(context.Context, digest.Digest) (body []byte, unavailable, err error)

// Visitor receives the manifests and blobs that a traversal finds, one by one.
type Visitor interface {
	// Manifest receives a manifest that was read, or is Unavailable. Further descriptors of
	// it may be found until the traversal has ended. The visitor may clear its Refs.
	Manifest(*Manifest)
	// Blob receives a blob that an index.json names directly.
	Blob(Top)
}

// Traversal reads manifests breadth first, because indexes may be nested to any depth.
// It reads each manifest once, however many others name it.
type Traversal struct {
	Read    Read
	Visitor Visitor
	// Patience is how long to wait for a manifest before others are read meanwhile; 0 means
	// as long as it takes.
	Patience time.Duration
	// Waiting is called when a manifest takes longer than Patience, and then after each
	// further result until no manifest is late any more. It may be nil.
	Waiting func()

	manifests map[digest.Digest]*Manifest
	found     []*Manifest // in the order of reading
}

// maxWaiting limits how many manifests may be late while others are read.
const maxWaiting = 8

// answer is the result of reading a manifest.
type answer struct {
	manifest         *Manifest
	body             []byte
	unavailable, err error
}

// Run reads everything that the tops lead to, and returns the manifests in the order in
// which they were found. The error is one of Read's, or the context's.
func (t *Traversal) Run(ctx context.Context, tops []Top) ([]*Manifest, error) {
	t.manifests = make(map[digest.Digest]*Manifest, len(tops))
	t.found = make([]*Manifest, 0, len(tops))
	for _, top := range tops {
		t.top(top)
	}
	if t.Waiting == nil {
		t.Waiting = func() {}
	}
	late := make(chan answer, maxWaiting) // so that goroutines can end after an error
	waiting := 0
	for next := 0; next < len(t.found) || waiting > 0; {
		var a answer
		if next < len(t.found) && waiting < maxWaiting {
			var ok bool
			a, ok = t.read(ctx, t.found[next], late)
			next++
			if !ok {
				waiting++
				t.Waiting()
				continue
			}
		} else {
			select {
			case a = <-late:
				waiting--
			case <-ctx.Done():
			}
		}
		if err := cmp.Or(ctx.Err(), a.err); err != nil {
			return nil, err
		}
		t.take(a)
		if waiting > 0 {
			t.Waiting()
		}
	}
	for _, m := range t.found {
		m.resolve()
	}
	return t.found, nil
}

// read reads a manifest. If that takes too long, ok is false, and the answer goes to late.
func (t *Traversal) read(ctx context.Context, m *Manifest, late chan<- answer) (a answer, ok bool) {
	read := func() answer {
		body, unavailable, err := t.Read(ctx, m.Digest)
		return answer{m, body, unavailable, err}
	}
	if t.Patience == 0 {
		return read(), true
	}
	now := make(chan answer, 1)
	go func() { now <- read() }()
	select {
	case a := <-now:
		return a, true
	case <-time.After(t.Patience):
		go func() { late <- <-now }()
		return answer{}, false
	}
}

func (t *Traversal) top(top Top) {
	if len(top.Tags) == 0 && !IsManifest(top.MediaType) {
		t.Visitor.Blob(top)
		return
	}
	m := t.manifest(Descriptor{MediaType: top.MediaType, Digest: top.Digest})
	m.Top, m.Tags, m.Claims = true, top.Tags, slices.Clone(top.Sizes)
	m.Types = append(m.Types, top.Others...)
}

// manifest returns the manifest of a digest, and creates it at the first call.
func (t *Traversal) manifest(d Descriptor) *Manifest {
	m := t.manifests[d.Digest]
	if m == nil {
		m = &Manifest{Descriptor: d}
		t.manifests[d.Digest] = m
		t.found = append(t.found, m)
	}
	m.MediaType = cmp.Or(m.MediaType, d.MediaType)
	if d.MediaType != "" && len(m.Types) < maxClaims && !slices.Contains(m.Types, d.MediaType) {
		m.Types = append(m.Types, d.MediaType)
	}
	return m
}

// maxClaims limits the sizes and types that are kept per manifest. At most one of each is right.
const maxClaims = 8

// take processes the result of reading a manifest.
func (t *Traversal) take(a answer) {
	m := a.manifest
	defer t.Visitor.Manifest(m)
	if m.Unavailable = a.unavailable; a.unavailable != nil {
		return
	}
	m.Size = int64(len(a.body))
	if m.Refs, m.parsed = Parse(a.body); m.parsed != nil {
		return
	}
	if !m.Refs.LeadsOn(m.Types) {
		m.Refs.Children, m.Refs.Blobs, m.Refs.Subject, m.Refs.Faults = nil, nil, nil, nil
	}
	for _, d := range m.Refs.Children {
		child := t.manifest(d)
		if len(child.Claims) < maxClaims && !slices.Contains(child.Claims, d.Size) {
			child.Claims = append(child.Claims, d.Size)
		}
		if n := len(child.Parents); n == 0 || child.Parents[n-1] != m {
			child.Parents = append(child.Parents, m)
		}
	}
}

// resolve decides which of the descriptors are right, once all are known.
func (m *Manifest) resolve() {
	if m.Unavailable != nil {
		if len(m.Claims) > 0 {
			m.Size = m.Claims[0]
		}
		return
	}
	m.MediaType, m.Contradicted, m.Refused = m.Refs.chooseType(m.parsed, m.Types)
	if m.Unavailable = m.Refused; m.Unavailable == nil && len(m.Claims) > 0 && !slices.Contains(m.Claims, m.Size) {
		m.Unavailable = fmt.Errorf("%d bytes, the descriptor says %d", m.Size, m.Claims[0])
	}
}
