package closure

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// Top is a digest where a traversal begins. It combines all descriptors of that digest in index.json files.
type Top struct {
	Digest    digest.Digest
	MediaType string
	// Others contains further media types that the descriptors state, each once.
	Others []string
	// Sizes contains the sizes in bytes that the descriptors state, each once. If it is empty, the
	// traversal checks no size.
	Sizes []int64
	// Tags contains the tags of the descriptors, sorted.
	Tags []string
}

// Read returns the bytes of a manifest after verifying them against the digest. If the manifest
// cannot be read or verified, unavailable is the reason. err ends the traversal.
type Read func(context.Context, digest.Digest) (body []byte, unavailable, err error)

// Visitor receives the manifests and blobs that a traversal finds, one at a time.
type Visitor interface {
	// Manifest receives a manifest that was read or is Unavailable. Later, the traversal may find
	// further descriptors of it. The visitor may clear its Refs, except for MediaType and Typed.
	Manifest(*Manifest)
	// Blob receives a blob to which an index.json refers directly.
	Blob(Top)
}

// Traversal reads manifests breadth first, because indexes may be nested to any depth. It reads
// each manifest once, even if several others refer to it.
type Traversal struct {
	Read    Read
	Visitor Visitor
	// Patience is how long to wait for a manifest before starting to read the next one. 0 means no limit.
	Patience time.Duration
	// Waiting is called when a manifest takes longer than Patience. While any manifest is late,
	// Waiting is called again after each result. It may be nil.
	Waiting func()

	manifests map[digest.Digest]*Manifest
	found     []*Manifest // manifests in the order in which they are read
}

// maxWaiting is how many manifests may be late before the traversal stops reading others.
const maxWaiting = 8

// answer is what reading a manifest returned.
type answer struct {
	manifest         *Manifest
	body             []byte
	unavailable, err error
}

// Run reads all manifests that can be reached from tops. It returns the manifests in the order in
// which it found them. It fails only if Read returns err or ctx ends.
func (t *Traversal) Run(ctx context.Context, tops []Top) ([]*Manifest, error) {
	t.manifests = make(map[digest.Digest]*Manifest, len(tops))
	t.found = make([]*Manifest, 0, len(tops))
	for _, top := range tops {
		t.top(top)
	}
	if t.Waiting == nil {
		t.Waiting = func() {}
	}
	late := make(chan answer, maxWaiting) // buffered, so that the goroutines can end even after an error
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

// read reads a manifest. If that takes longer than Patience, it returns ok as false and sends the
// answer to late afterwards.
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

// manifest returns the manifest with the digest of d. It creates the manifest at the first call.
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

// maxClaims limits how many sizes are kept per manifest, and how many media types. At most one of
// each is right.
const maxClaims = 8

// take processes an answer: it parses the manifest and records its children.
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
		m.Refs.Children, m.Refs.Blobs, m.Refs.Subject, m.Refs.Malformed = nil, nil, nil, nil
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

// resolve decides which descriptors of a manifest are right, once all are known.
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
