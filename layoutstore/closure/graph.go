package closure

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
)

// Graph contains all manifests and blobs that can be reached from the tops of a traversal.
type Graph struct {
	// Manifests contains each manifest once. A manifest comes after its children and its subject,
	// because a registry accepts them only in this order.
	Manifests []*Manifest
	Blobs     []*Blob // each blob once, sorted by digest

	byDigest map[digest.Digest]*Manifest
}

// Manifest is a manifest or an index in a graph.
type Manifest struct {
	// Descriptor contains the size of the content or, if the content could not be read or verified,
	// the first size that a descriptor states.
	Descriptor
	// Claims contains the sizes in bytes that descriptors state, each once.
	Claims []int64
	// Tags contains the tags of the manifest's descriptors in index.json files, sorted.
	Tags []string
	// Top means that an index.json refers to the manifest.
	Top bool
	// Refs is empty if the content could not be read or verified, or is not a manifest.
	Refs    Refs
	Parents []*Manifest
	// Unavailable is the reason why the manifest cannot be used, or nil if the manifest is intact.
	// The manifest may be missing, damaged or Refused, or no descriptor has the right size.
	Unavailable error
	// Refused is the reason why the content was refused: it is not a manifest, or it contradicts
	// every descriptor. Otherwise, Refused is nil.
	Refused error
	// Types contains the media types that descriptors state, each once.
	Types []string
	// Contradicted contains the wrong media types among Types. It is empty if none of Types is right.
	Contradicted []string

	parsed error // the reason why the content is not a manifest, or nil
}

// Blob is a config or layer in a graph, or a blob to which an index.json refers directly.
type Blob struct {
	Digest digest.Digest
	// Claims contains one claim per size and manifest.
	Claims []Claim
	// Optional means that the blob may be missing because it is a non-distributable layer.
	Optional bool
}

// Claim is what one manifest states about a blob.
type Claim struct {
	// Size is in bytes.
	Size int64
	// By is the manifest, or nil if an index.json refers to the blob directly.
	By *Manifest
	// Tags contains the tags of the blob's descriptor in index.json. It is empty if By is not nil.
	Tags []string
}

// Size returns the size in bytes that the first claim states.
func (b *Blob) Size() int64 { return b.Claims[0].Size }

// Tops returns the manifests to which an index.json refers, and from which m can be reached. m
// itself may be among them.
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

// TagsTo returns the tags from which m can be reached, sorted. These are the tags of m and of its
// direct and indirect parents.
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

// TagsTo returns the tags from which b can be reached, sorted.
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

// TagsTo returns the tags from which the blob of the claim can be reached, sorted.
func (c Claim) TagsTo() []string {
	if c.By == nil {
		return c.Tags
	}
	return c.By.TagsTo()
}

// Origin returns the first manifest to which an index.json refers, and from which m can be reached.
func (m *Manifest) Origin() *Manifest {
	for !m.Top {
		m = m.Parents[0]
	}
	return m
}

// Walk builds the graph of everything that can be reached from tops. It fails only if read fails or ctx ends.
func Walk(ctx context.Context, tops []Top, read Read) (*Graph, error) {
	b := builder{}
	t := Traversal{Read: read, Visitor: b}
	found, err := t.Run(ctx, tops)
	if err != nil {
		return nil, err
	}
	return &Graph{ordered(found, t.manifests), b.sorted(), t.manifests}, nil
}

// Below yields top and everything that its manifest leads to. It yields each digest once, breadth
// first. A digest comes with its manifest, or with nil if the graph has no manifest for it. Below
// yields nothing below an unavailable manifest.
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

// builder collects the blobs of a graph by digest.
type builder map[digest.Digest]*Blob

func (b builder) Manifest(m *Manifest) {
	for _, ref := range m.Refs.Blobs {
		b.claim(ref, Claim{Size: ref.Size, By: m})
	}
}

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
	// The claims of the same manifest are next to each other.
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

// ordered sorts manifests so that each comes after its children and its subject.
func ordered(found []*Manifest, byDigest map[digest.Digest]*Manifest) []*Manifest {
	waits := make(map[*Manifest]int, len(found)) // for each manifest, how many others must come before it
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
	return order // order contains all manifests, because digests cannot refer to each other in a circle
}

func (b builder) sorted() []*Blob {
	blobs := slices.AppendSeq(make([]*Blob, 0, len(b)), maps.Values(b))
	slices.SortFunc(blobs, func(a, b *Blob) int { return cmp.Compare(a.Digest, b.Digest) })
	return blobs
}
