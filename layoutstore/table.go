package layoutstore

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
)

// table contains what serving a repository needs from its manifests: the children of indexes, the
// sizes of blobs, and the referrers.
type table struct {
	children     map[key]*node         // reachable manifests that no index.json names
	claims       []claim               // sorted by key, then by size
	otherDigests map[key]digest.Digest // digests of keys that are not plain
	referrers    map[digest.Digest][]*node
	findings     map[*node]finding // findings about manifests that are invalid or whose descriptors disagree
	problems     []Problem
}

// claim is a size that one or more manifests give for a blob.
type claim struct {
	key      key
	size     int64 // size in bytes
	top      int32 // position in Repository.top of a manifest that leads to the blob
	optional bool  // whether the blob may be missing, as a non-distributable layer
}

// finding is the result of reading a manifest.
type finding struct {
	sizes     []int64  // sizes in descriptors in bytes, without duplicates
	types     []string // media types in descriptors, without duplicates
	mediaType string   // media type of the content
	unread    bool     // whether the manifest is missing or damaged
	refused   error    // why the manifest is invalid, or nil
}

func compareClaims(a, b claim) int { return cmp.Or(a.key.compare(b.key), cmp.Compare(a.size, b.size)) }

// orderClaims compares claims for sorting. Of the claims with the same blob and size, the optional
// ones come last.
func orderClaims(a, b claim) int {
	needs := func(c claim) int {
		if c.optional {
			return 1
		}
		return 0
	}
	return cmp.Or(compareClaims(a, b), cmp.Compare(needs(a), needs(b)))
}

// allOptional reports whether all claims allow the blob to be missing.
func allOptional(claims []claim) bool {
	return !slices.ContainsFunc(claims, func(c claim) bool { return !c.optional })
}

// claimsOf returns the claims about the blob with a key, sorted by size, one per size.
func (t *table) claimsOf(k key) []claim {
	from, _ := slices.BinarySearchFunc(t.claims, k, func(c claim, k key) int { return c.key.compare(k) })
	to := from
	for to < len(t.claims) && t.claims[to].key == k {
		to++
	}
	return t.claims[from:to]
}

func (t *table) digestOf(c claim) digest.Digest {
	if d, ok := t.otherDigests[c.key]; ok {
		return d
	}
	return c.key.digest()
}

// unread returns the manifests that were missing or damaged when they were read.
func (t *table) unread() (all []*node) {
	for n, f := range t.findings {
		if f.unread {
			all = append(all, n)
		}
	}
	return all
}

// builder makes the table of a repository during a traversal of its manifests.
type builder struct {
	mu      sync.Mutex // protects table, because findBlob reads it during the traversal
	repo    *Repository
	table   *table
	commons map[string]*common // common fields of children, by media type
}

func newBuilder(r *Repository) *builder {
	return &builder{repo: r, commons: map[string]*common{}, table: &table{
		children: map[key]*node{}, otherDigests: map[key]digest.Digest{}, referrers: map[digest.Digest][]*node{}, findings: map[*node]finding{},
	}}
}

// node returns the node of a manifest that the traversal found.
func (b *builder) node(d digest.Digest) *node {
	k, _ := keyOf(d)
	if n := b.repo.topNode(k); n != nil {
		return n
	}
	return b.table.children[k]
}

// Manifest implements [closure.Visitor]. To save memory, it removes m's references, except the
// type.
func (b *builder) Manifest(m *closure.Manifest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	origin, _ := keyOf(m.Origin().Digest)
	top := b.repo.topNumber(origin)
	var refused *ProblemError
	if errors.As(m.Unavailable, &refused) {
		b.addProblem(refused.Problem, top)
	}
	for _, fault := range m.Refs.Malformed {
		b.addDamaged(m.Digest, top, fault)
	}
	for _, d := range m.Refs.Children {
		b.addChild(d)
	}
	for _, ref := range m.Refs.Blobs {
		b.addBlob(ref, top)
	}
	if m.Refs.Subject != nil {
		subject := m.Refs.Subject.Digest
		b.table.referrers[subject] = append(b.table.referrers[subject], b.node(m.Digest))
	}
	m.Refs = closure.Refs{MediaType: m.Refs.MediaType, Typed: m.Refs.Typed}
}

// Blob implements [closure.Visitor].
func (b *builder) Blob(t closure.Top) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k, _ := keyOf(t.Digest)
	for _, size := range t.Sizes {
		b.addBlob(closure.Ref{Descriptor: Descriptor{MediaType: t.MediaType, Digest: t.Digest, Size: size}}, b.repo.topNumber(k))
	}
}

// addChild adds a manifest to which an image index refers.
func (b *builder) addChild(d Descriptor) {
	if b.node(d.Digest) != nil {
		return
	}
	k, plain := keyOf(d.Digest)
	c := &common{mediaType: d.MediaType, digest: d.Digest}
	if plain {
		if b.commons[d.MediaType] == nil {
			b.commons[d.MediaType] = &common{mediaType: d.MediaType}
		}
		c = b.commons[d.MediaType]
	}
	b.table.children[k] = &node{first: &entry{key: k, size: d.Size, common: c}}
}

// addBlob adds the claim of a manifest about a config or layer.
func (b *builder) addBlob(ref closure.Ref, top int32) {
	k, plain := keyOf(ref.Digest)
	if !plain {
		b.table.otherDigests[k] = ref.Digest
	}
	b.table.claims = append(b.table.claims, claim{k, ref.Size, top, ref.Optional})
}

// finish completes the table after all manifests have been read.
func (b *builder) finish(found []*closure.Manifest) *table {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.table
	for _, m := range found {
		b.checkDescriptors(m)
	}
	slices.SortFunc(t.claims, orderClaims)
	// Clone the list, because its spare capacity could be half of its memory.
	t.claims = slices.Clone(slices.CompactFunc(t.claims, func(a, b claim) bool { return compareClaims(a, b) == 0 }))
	for _, nodes := range t.referrers {
		slices.SortFunc(nodes, func(a, b *node) int { return cmp.Compare(a.digest(), b.digest()) })
	}
	return t
}

// checkDescriptors records a finding about a manifest that was read, and reports wrong descriptors.
func (b *builder) checkDescriptors(m *closure.Manifest) {
	n := b.node(m.Digest)
	f := finding{sizes: m.Claims, types: m.Types, mediaType: m.MediaType, refused: m.Refused}
	f.unread = errors.As(m.Unavailable, new(*ProblemError))
	if !f.unread {
		b.reportMismatches(m)
	}
	for _, t := range n.types() {
		if !slices.Contains(f.types, t) { // an index.json lists the manifest as a blob
			f.types = append(f.types, t)
		}
	}
	if m.Unavailable != nil || m.MediaType != n.mediaType() || len(f.sizes) > 1 || len(f.types) > 1 {
		b.table.findings[n] = f
	}
}

// reportMismatches reports descriptors whose size or type differs from that of the manifest.
func (b *builder) reportMismatches(m *closure.Manifest) {
	origin, _ := keyOf(m.Origin().Digest)
	top := b.repo.topNumber(origin)
	for _, size := range m.Claims {
		if size != m.Size {
			b.addDamaged(m.Digest, top, sizeMismatch(m.Size, size))
		}
	}
	if b.repo.IsDiscovery(m.Digest) {
		return
	}
	if m.Refused != nil {
		b.addDamaged(m.Digest, top, m.Refused.Error())
		return
	}
	for _, t := range m.Contradicted {
		b.addDamaged(m.Digest, top, typeMismatch(t, m.MediaType))
	}
}

func typeMismatch(claimed, right string) string {
	return fmt.Sprintf("a descriptor states the type %.100q, but the manifest has the type %.100q", claimed, right)
}

// addDamaged adds a problem of a manifest that is reachable from a node in Repository.top.
func (b *builder) addDamaged(d digest.Digest, top int32, reason string) {
	b.addProblem(Problem{Kind: Damaged, Digest: d, Reason: reason}, top)
}

// addProblem adds a problem of content that is reachable from a node in Repository.top.
func (b *builder) addProblem(p Problem, top int32) {
	b.table.problems = b.repo.appendProblem(b.table.problems, p, top)
}
