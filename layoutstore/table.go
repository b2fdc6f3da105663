package layoutstore

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"unique"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
)

// contents is what the manifests of a repository tell: the children of indexes,
// how large blobs are, and what refers to what.
type contents struct {
	children  map[digest.Digest]*node    // reachable manifests that no index.json names
	sizes     map[digest.Digest][]int64  // that indexes claim of manifests which have a node already
	types     map[digest.Digest][]string // the same for media types, where they are others
	claims    []claim                    // by key, then size; those that are not optional first
	odd       map[key]digest.Digest      // digests that a key does not hold
	referrers map[digest.Digest][]*node
	broken    []digest.Digest          // manifests that are missing or damaged
	refused   map[digest.Digest]error  // why those that were read are not what they have to be
	right     map[digest.Digest]string // media types of those of which some descriptors say others
	problems  []Problem
}

// key stands for a digest in a quarter of its bytes: there may be a hundred
// thousand. It is the sum itself for sha256, and the sha256 of the digest's text
// for other algorithms.
type key [sha256.Size]byte

func keyOf(d digest.Digest) (k key, plain bool) {
	if d.Algorithm() == digest.SHA256 {
		if n, err := hex.Decode(k[:], []byte(d.Encoded())); err == nil && n == len(k) {
			return k, true
		}
	}
	return sha256.Sum256([]byte(d)), false
}

// claim is what one or more manifests say of a blob.
type claim struct {
	key      key
	optional bool  // may be missing as far as this goes: a layer that is not to be distributed
	size     int64 // bytes
	owner    *node // a manifest that says so
}

func compareClaims(a, b claim) int {
	return cmp.Or(bytes.Compare(a.key[:], b.key[:]), cmp.Compare(a.size, b.size))
}

// orderClaims has a claim that needs the blob before one of the size that does not.
func orderClaims(a, b claim) int {
	needs := func(c claim) int {
		if c.optional {
			return 1
		}
		return 0
	}
	return cmp.Or(compareClaims(a, b), cmp.Compare(needs(a), needs(b)))
}

// optional says whether nothing needs the blob that some claims are about.
func optional(claims []claim) bool {
	return !slices.ContainsFunc(claims, func(c claim) bool { return !c.optional })
}

// claimsOf are the claims about d, one a size.
func (c *contents) claimsOf(d digest.Digest) []claim {
	k, _ := keyOf(d)
	from, _ := slices.BinarySearchFunc(c.claims, k, func(cl claim, k key) int { return bytes.Compare(cl.key[:], k[:]) })
	to := from
	for to < len(c.claims) && c.claims[to].key == k {
		to++
	}
	return c.claims[from:to]
}

func (c *contents) digestOf(cl claim) digest.Digest {
	if d, ok := c.odd[cl.key]; ok {
		return d
	}
	return digest.NewDigestFromEncoded(digest.SHA256, hex.EncodeToString(cl.key[:]))
}

// manifestRead is what has to be remembered of a manifest until all descriptors of it
// are known.
type manifestRead struct {
	size int64        // bytes
	refs closure.Refs // the type alone
	err  error        // why it is no manifest
}

type visit struct {
	node  *node
	owner *node // the one in an index.json that led here
}

func (rd *reading) all() error {
	rd.have = map[digest.Digest]manifestRead{}
	for _, n := range rd.repo.top {
		if n.tag == "" && !closure.IsManifest(n.mediaType) {
			// A blob that an index.json names for itself.
			for _, size := range n.sizes {
				rd.blob(closure.Ref{Descriptor: Descriptor{MediaType: n.mediaType, Digest: n.digest, Size: size}}, n)
			}
			continue
		}
		rd.todo = append(rd.todo, visit{n, n})
	}
	if err := rd.visitAll(); err != nil {
		return err
	}
	for _, v := range rd.todo {
		rd.checkSize(v)
		rd.checkType(v)
	}
	slices.SortFunc(rd.claims, orderClaims)
	// A copy, as there are many and the room to grow is half of it.
	rd.claims = slices.Clone(slices.CompactFunc(rd.claims, func(a, b claim) bool { return compareClaims(a, b) == 0 }))
	for _, nodes := range rd.referrers {
		slices.SortFunc(nodes, func(a, b *node) int { return cmp.Compare(a.digest, b.digest) })
	}
	return nil
}

// parse takes in the bytes of a manifest.
func (rd *reading) parse(b body) {
	refs, err := closure.Parse(b.bytes)
	rd.have[b.visit.node.digest] = manifestRead{int64(len(b.bytes)), closure.Refs{MediaType: unique.Make(refs.MediaType).Value(), Typed: refs.Typed}, err}
	if err == nil && refs.LeadsOn(rd.repo.typesOf(b.visit.node)) {
		rd.follow(refs, b.visit)
	}
}

func (rd *reading) follow(refs closure.Refs, v visit) {
	for _, fault := range refs.Faults {
		rd.damaged(v.node.digest, v.owner, fault)
	}
	for _, d := range refs.Children {
		rd.child(d, v.owner)
	}
	for _, ref := range refs.Blobs {
		rd.blob(ref, v.owner)
	}
	if refs.Subject != nil {
		subject := refs.Subject.Digest
		rd.referrers[subject] = append(rd.referrers[subject], v.node)
	}
}

// child adds a manifest that an index names.
func (rd *reading) child(d Descriptor, owner *node) {
	n := rd.repo.topNode(d.Digest)
	if n == nil {
		n = rd.children[d.Digest]
	}
	if n != nil {
		rd.sizes[d.Digest] = appendSize(rd.sizes[d.Digest], d.Size)
		if d.MediaType != "" && d.MediaType != n.mediaType {
			rd.types[d.Digest] = appendType(rd.types[d.Digest], d.MediaType)
		}
		return
	}
	n = &node{digest: d.Digest, mediaType: d.MediaType, sizes: []int64{d.Size}}
	rd.children[d.Digest] = n
	rd.todo = append(rd.todo, visit{n, owner})
}

// blob adds what a manifest says of a config or layer.
func (rd *reading) blob(ref closure.Ref, owner *node) {
	k, plain := keyOf(ref.Digest)
	if !plain {
		rd.odd[k] = ref.Digest
	}
	rd.claims = append(rd.claims, claim{k, ref.Optional, ref.Size, owner})
}

// checkSize reports descriptors of a manifest that lie about its size.
func (rd *reading) checkSize(v visit) {
	have, ok := rd.have[v.node.digest]
	if !ok {
		return
	}
	for _, size := range slices.Concat(v.node.sizes, rd.sizes[v.node.digest]) {
		if size != have.size {
			rd.damaged(v.node.digest, v.owner, wrongSize(have.size, []int64{size}))
		}
	}
}

// checkType reports a manifest whose type is not what its descriptors say, and
// descriptors that say a wrong one beside one that is right.
func (rd *reading) checkType(v visit) {
	have, ok := rd.have[v.node.digest]
	if _, synthetic := rd.repo.synthetic[v.node.digest]; synthetic || !ok {
		return
	}
	right, wrong, err := have.refs.Choose(have.err, append(rd.repo.typesOf(v.node), rd.types[v.node.digest]...))
	if err != nil {
		rd.refused[v.node.digest] = err
		rd.damaged(v.node.digest, v.owner, err.Error())
		return
	}
	if len(wrong) > 0 || v.node.mediaType == "" {
		rd.right[v.node.digest] = right
	}
	for _, t := range wrong {
		rd.damaged(v.node.digest, v.owner, wrongType(t, right))
	}
}

func wrongType(claimed, right string) string {
	return fmt.Sprintf("a descriptor says %.100q, and it is %.100q", claimed, right)
}

// damaged adds a problem of a manifest that owner leads to.
func (rd *reading) damaged(d digest.Digest, owner *node, reason string) {
	rd.problem(Problem{Kind: Damaged, Digest: d, Reason: reason}, owner)
}

// problem adds a problem of something that owner leads to.
func (rd *reading) problem(p Problem, owner *node) {
	if len(rd.problems) <= maxProblems {
		rd.problems = appendBounded(rd.problems, rd.repo.placed(p, owner))
	}
}
