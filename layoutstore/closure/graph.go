package closure

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
)

// Graph is all manifests and blobs that the tops lead to.
type Graph struct {
	// Manifests are the manifests, each once, after its children and its subject: a
	// registry accepts them in this order.
	Manifests []*Manifest
	Blobs     []*Blob // once each, by digest

	byDigest map[digest.Digest]*Manifest
}

// Manifest is a manifest or an index of a graph.
type Manifest struct {
	Descriptor          // the size is that of its content; if that is unavailable, the claimed one
	Claims     []int64  // the sizes that descriptors state, each once; bytes
	Tags       []string // of its descriptors in index.json files, sorted
	Top        bool     // an index.json names it
	Refs       Refs     // zero if the content is unavailable, or not a manifest
	Parents    []*Manifest
	// Unavailable is why the manifest cannot be used: it is missing or damaged, it is Refused,
	// or no descriptor has the right size. It is nil if the manifest is intact.
	Unavailable error
	// Refused is set if the content is not a manifest, or contradicts every descriptor.
	Refused error
	Types   []string // the media types that descriptors state, each once
	// Contradicted are the wrong ones of Types, if one is right.
	Contradicted []string

	parsed error // why its content is not a manifest
}

// Blob is a config or layer of a graph, or a blob that an index.json names directly.
type Blob struct {
	Digest   digest.Digest
	Claims   []Claim // one per size and manifest
	Optional bool    // it may be missing: a non-distributable layer
}

// Claim is what one manifest says about a blob.
type Claim struct {
	Size int64     // bytes
	By   *Manifest // nil if an index names the blob directly
	Tags []string  // of that index
}

// Size returns the size in bytes that the first claim states.
func (b *Blob) Size() int64 { return b.Claims[0].Size }

// Tops returns the manifests that an index.json names and that lead to m. m itself may be one.
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

// TagsTo returns the tags that lead to m, its own and those of its parents, sorted.
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

// TagsTo returns the tags that lead to b, sorted.
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

// TagsTo returns the tags that lead to the claim, sorted.
func (c Claim) TagsTo() []string {
	if c.By == nil {
		return c.Tags
	}
	return c.By.TagsTo()
}

// Origin returns the first manifest that an index.json names and that leads to m.
func (m *Manifest) Origin() *Manifest {
	for !m.Top {
		m = m.Parents[0]
	}
	return m
}

// Walk builds the graph of everything that the tops lead to. The error is that of read, or the
// context's.
func Walk(ctx context.Context, tops []Top, read Read) (*Graph, error) {
	b := builder{}
	t := Traversal{Read: read, Visitor: b}
	found, err := t.Run(ctx, tops)
	if err != nil {
		return nil, err
	}
	return &Graph{ordered(found, t.manifests), b.sorted(), t.manifests}, nil
}

// Below yields the digest top and everything that its manifest leads to, each once and breadth
// first. Each digest comes with its manifest, or nil if the graph has none. It yields nothing below
// an unavailable manifest.
func (g *Graph) Below(top digest.Digest) iter.Seq2[Ref, *Manifest] {
	return func(yield func(Ref, *Manifest) bool) {
		seen := map[digest.Digest]bool{top: true}
		reached := []Ref{{Descriptor: Descriptor{Digest: top}}}
		add := func(r Ref) {
			if !seen[r.Digest] {
				seen[r.Digest] = true
				reached = append(reached, r)
			}
		}
		for i := 0; i < len(reached); i++ {
			m := g.byDigest[reached[i].Digest]
			if !yield(reached[i], m) {
				return
			}
			if m == nil || m.Unavailable != nil {
				continue
			}
			for _, child := range m.Refs.Children {
				add(Ref{Descriptor: child})
			}
			for _, blob := range m.Refs.Blobs {
				add(blob)
			}
		}
	}
}

// builder collects the blobs of a graph, by digest.
type builder map[digest.Digest]*Blob

// Manifest implements [Visitor].
func (b builder) Manifest(m *Manifest) {
	for _, ref := range m.Refs.Blobs {
		b.claim(ref, Claim{Size: ref.Size, By: m})
	}
}

// Blob implements [Visitor].
func (b builder) Blob(t Top) {
	for _, size := range t.Sizes {
		b.claim(Ref{Descriptor{t.MediaType, t.Digest, size}, false}, Claim{Size: size, Tags: t.Tags})
	}
}

func (b builder) claim(ref Ref, c Claim) {
	blob := b[ref.Digest]
	if blob == nil {
		blob = &Blob{Digest: ref.Digest, Optional: true}
		b[ref.Digest] = blob
	}
	blob.Optional = blob.Optional && ref.Optional
	// The claims of one manifest are adjacent.
	for _, have := range slices.Backward(blob.Claims) {
		if have.By != c.By {
			break
		}
		if have.Size == c.Size {
			return
		}
	}
	blob.Claims = append(blob.Claims, c)
}

// ordered returns the manifests, each after its children and its subject.
func ordered(found []*Manifest, byDigest map[digest.Digest]*Manifest) []*Manifest {
	waits := make(map[*Manifest]int, len(found)) // how many manifests must precede it
	behind := map[*Manifest][]*Manifest{}
	for _, m := range found {
		needs := slices.Clone(m.Refs.Children)
		if m.Refs.Subject != nil {
			needs = append(needs, *m.Refs.Subject)
		}
		for _, d := range needs {
			if n := byDigest[d.Digest]; n != nil && n != m {
				waits[m]++
				behind[n] = append(behind[n], m)
			}
		}
	}
	order := make([]*Manifest, 0, len(found))
	for _, m := range found {
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
	return order // complete: manifests cannot name each other's digests in a circle
}

func (b builder) sorted() []*Blob {
	blobs := slices.AppendSeq(make([]*Blob, 0, len(b)), maps.Values(b))
	slices.SortFunc(blobs, func(a, b *Blob) int { return cmp.Compare(a.Digest, b.Digest) })
	return blobs
}
