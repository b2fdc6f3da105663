package closure

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
)

// Top is what an index names: where a walk begins. Descriptors of one digest are
// one top.
type Top struct {
	Digest    digest.Digest
	MediaType string
	Others    []string // further media types that descriptors say, each once
	Sizes     []int64  // that its descriptors claim, each once; bytes
	Tags      []string // that lead to it, sorted
}

// Read returns the bytes of a manifest, proven by its digest. The gap says why it
// cannot be had; err ends the walk.
type Read func(context.Context, digest.Digest) (body []byte, gap, err error)

// Graph is everything that the tops lead to.
type Graph struct {
	// Manifests are there once each. One stands behind its children and behind its
	// subject, if that is among them: in this order a registry takes them.
	Manifests []*Manifest
	Blobs     []*Blob // once each, by digest
}

// Manifest is a manifest or an index of a graph.
type Manifest struct {
	Descriptor          // the size is that of its bytes; where they cannot be had, what is claimed
	Claims     []int64  // sizes that descriptors say, each once; bytes
	Tags       []string // that an index gives it, sorted
	Top        bool     // an index names it
	Refs       Refs     // zero where the bytes cannot be had, or are no manifest
	Parents    []*Manifest
	// Gap says why it is not to be had: it is missing, its bytes are others, or no
	// descriptor says the right size. It is nil where the manifest is whole.
	Gap error
	// Contradicted are the media types that descriptors give it wrongly, beside one
	// that is right.
	Contradicted []string

	types  []string // that descriptors say, each once
	parsed error    // why its bytes are no manifest
}

// Blob is a config or layer of a graph, or what an index names for itself.
type Blob struct {
	Digest   digest.Digest
	Claims   []Claim // one a size and manifest
	Optional bool    // nothing needs it: it is not to be distributed
}

// Claim is what a manifest says of a blob.
type Claim struct {
	Size int64     // bytes
	By   *Manifest // nil where it is an index that names the blob for itself
	Tags []string  // of that index
}

// Size is the size that the first claim says, in bytes.
func (b *Blob) Size() int64 { return b.Claims[0].Size }

// Tops are the manifests that an index names and that lead to m, itself perhaps.
func (m *Manifest) Tops() []*Manifest {
	var tops []*Manifest
	seen := map[*Manifest]bool{m: true}
	for todo := []*Manifest{m}; len(todo) > 0; {
		at := todo[0]
		todo = todo[1:]
		if at.Top {
			tops = append(tops, at)
		}
		for _, p := range at.Parents {
			if !seen[p] {
				seen[p] = true
				todo = append(todo, p)
			}
		}
	}
	return tops
}

// TagsTo are the tags that lead to m by way of its parents, its own among them, sorted.
func (m *Manifest) TagsTo() []string {
	if len(m.Parents) == 0 {
		return slices.Clip(m.Tags)
	}
	var tags []string
	for _, top := range m.Tops() {
		tags = append(tags, top.Tags...)
	}
	slices.Sort(tags)
	return slices.Compact(tags)
}

// TagsTo are the tags that lead to b, sorted.
func (b *Blob) TagsTo() []string {
	if len(b.Claims) == 1 {
		return b.Claims[0].TagsTo()
	}
	var tags []string
	for _, c := range b.Claims {
		tags = append(tags, c.TagsTo()...)
	}
	slices.Sort(tags)
	return slices.Compact(tags)
}

// TagsTo are the tags that lead to what says so, sorted.
func (c Claim) TagsTo() []string {
	if c.By == nil {
		return c.Tags
	}
	return c.By.TagsTo()
}

// Walk reads all manifests that the tops lead to. The error is one of read's, or
// the context's.
func Walk(ctx context.Context, tops []Top, read Read) (*Graph, error) {
	w := &walk{manifests: map[digest.Digest]*Manifest{}, blobs: map[digest.Digest]*Blob{}}
	for _, t := range tops {
		w.top(t)
	}
	for i := 0; i < len(w.found); i++ { // breadth first: how deep indexes nest is up to whoever made them
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := w.visit(ctx, w.found[i], read); err != nil {
			return nil, err
		}
	}
	for _, m := range w.found {
		if m.Gap == nil {
			m.settleType()
		}
		if m.Gap == nil && !slices.Contains(m.Claims, m.Size) {
			m.Gap = fmt.Errorf("%d bytes, the descriptor says %d", m.Size, m.Claims[0])
		}
	}
	return &Graph{w.ordered(), w.sortedBlobs()}, nil
}

type walk struct {
	manifests map[digest.Digest]*Manifest
	found     []*Manifest // in the order in which they are read
	blobs     map[digest.Digest]*Blob
}

func (w *walk) top(t Top) {
	if len(t.Tags) == 0 && !IsManifest(t.MediaType) {
		for _, size := range t.Sizes {
			w.claim(Ref{Descriptor{t.MediaType, t.Digest, size}, false}, Claim{Size: size, Tags: t.Tags})
		}
		return
	}
	m := w.manifest(Descriptor{MediaType: t.MediaType, Digest: t.Digest})
	m.Top, m.Tags, m.Claims = true, t.Tags, slices.Clone(t.Sizes)
	m.types = append(m.types, t.Others...)
}

// manifest is the one of a digest, made at the first call.
func (w *walk) manifest(d Descriptor) *Manifest {
	m := w.manifests[d.Digest]
	if m == nil {
		m = &Manifest{Descriptor: d}
		w.manifests[d.Digest] = m
		w.found = append(w.found, m)
	}
	m.MediaType = cmp.Or(m.MediaType, d.MediaType)
	if d.MediaType != "" && len(m.types) < maxClaims && !slices.Contains(m.types, d.MediaType) {
		m.types = append(m.types, d.MediaType)
	}
	return m
}

// settleType finds which of the media types that descriptors say are right.
func (m *Manifest) settleType() {
	m.MediaType, m.Contradicted, m.Gap = m.Refs.Choose(m.parsed, m.types)
}

// maxClaims is how many sizes or types of one manifest are told apart. One is right at most.
const maxClaims = 8

func (w *walk) visit(ctx context.Context, m *Manifest, read Read) error {
	body, gap, err := read(ctx, m.Digest)
	if err != nil {
		return err
	}
	if m.Gap = gap; gap != nil {
		if len(m.Claims) > 0 {
			m.Size = m.Claims[0]
		}
		return nil
	}
	m.Size = int64(len(body))
	m.Refs, m.parsed = Parse(body)
	if m.parsed != nil || !m.Refs.LeadsOn(m.types) {
		return nil
	}
	for _, d := range m.Refs.Children {
		child := w.manifest(d)
		if len(child.Claims) < maxClaims && !slices.Contains(child.Claims, d.Size) {
			child.Claims = append(child.Claims, d.Size)
		}
		if n := len(child.Parents); n == 0 || child.Parents[n-1] != m {
			child.Parents = append(child.Parents, m)
		}
	}
	for _, ref := range m.Refs.Blobs {
		w.claim(ref, Claim{Size: ref.Size, By: m})
	}
	return nil
}

func (w *walk) claim(ref Ref, c Claim) {
	b := w.blobs[ref.Digest]
	if b == nil {
		b = &Blob{Digest: ref.Digest, Optional: true}
		w.blobs[ref.Digest] = b
	}
	b.Optional = b.Optional && ref.Optional
	// A manifest's claims come one after the other.
	for _, have := range slices.Backward(b.Claims) {
		if have.By != c.By {
			break
		}
		if have.Size == c.Size {
			return
		}
	}
	b.Claims = append(b.Claims, c)
}

// ordered puts each manifest behind its children and its subject.
func (w *walk) ordered() []*Manifest {
	waits := make(map[*Manifest]int, len(w.found)) // how many it still has to stand behind
	behind := map[*Manifest][]*Manifest{}
	for _, m := range w.found {
		needs := slices.Clone(m.Refs.Children)
		if m.Refs.Subject != nil {
			needs = append(needs, *m.Refs.Subject)
		}
		for _, d := range needs {
			if n := w.manifests[d.Digest]; n != nil && n != m {
				waits[m]++
				behind[n] = append(behind[n], m)
			}
		}
	}
	order := make([]*Manifest, 0, len(w.found))
	for _, m := range w.found {
		if waits[m] == 0 {
			order = append(order, m)
		}
	}
	for i := 0; i < len(order); i++ {
		for _, m := range behind[order[i]] {
			if waits[m]--; waits[m] == 0 {
				order = append(order, m)
			}
		}
	}
	return order // digests cannot name one another in a circle, so that is all of them
}

func (w *walk) sortedBlobs() []*Blob {
	blobs := make([]*Blob, 0, len(w.blobs))
	for _, b := range w.blobs {
		blobs = append(blobs, b)
	}
	slices.SortFunc(blobs, func(a, b *Blob) int { return cmp.Compare(a.Digest, b.Digest) })
	return blobs
}
