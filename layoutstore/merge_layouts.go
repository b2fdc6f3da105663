package layoutstore

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/discovery"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// newRepository unites parts, later ones winning a tag.
func (t *Tree) newRepository(path string, parts []*part, owners, discovered []string) *Repository {
	r := &Repository{path: path, parts: parts, owners: owners, discovery: discovered, cache: t.cache, quarantine: t.quarantine, storage: t.storage}
	nodes := map[digest.Digest]*node{}
	tags := map[string]*node{}
	for i, p := range parts {
		r.unite(p, owners[i], nodes, tags)
	}
	for _, name := range discovered {
		r.discover(name, nodes, tags)
	}
	for tag, n := range tags {
		r.tags = append(r.tags, tagged{tag, n})
		if n.tag == "" || tag < n.tag {
			n.tag = tag
		}
	}
	sortProblems(r.problems)
	slices.SortFunc(r.tags, func(a, b tagged) int { return strings.Compare(a.tag, b.tag) })
	for _, n := range nodes {
		r.top = append(r.top, n)
	}
	slices.SortFunc(r.top, func(a, b *node) int { return cmp.Compare(a.digest, b.digest) })
	return r
}

// unite adds the descriptors of one layout. Within it the last of a tag wins
// silently, against an earlier volume it wins and is reported. Images of other
// repositories than the owner never take a tag.
func (r *Repository) unite(p *part, owner string, nodes map[digest.Digest]*node, tags map[string]*node) {
	own := map[string]*node{}
	for _, e := range p.index.entries {
		n := nodes[e.Digest]
		if n == nil {
			n = &node{digest: e.Digest}
			nodes[e.Digest] = n
		}
		n.claim(e.Size)
		r.claimType(n, e.MediaType)
		switch {
		case e.tag == "":
		case p.isStray(e, owner):
			r.problem(p, strayProblem(e, owner))
		default:
			own[e.tag] = n
		}
	}
	for tag, n := range own {
		if other := tags[tag]; other != nil && other != n {
			r.problem(p, Problem{Kind: Conflict, Tags: tagList(tag), Digest: n.digest,
				Reason: fmt.Sprintf("an earlier source has the tag for %s, which is served by digest only", other.digest)})
		}
		tags[tag] = n
	}
	for _, problem := range p.index.problems {
		r.problem(p, problem)
	}
}

// claimType notes what a descriptor says of the media type of n.
func (r *Repository) claimType(n *node, mediaType string) {
	switch {
	case mediaType == "" || mediaType == n.mediaType:
		return
	case n.mediaType == "":
		n.mediaType = mediaType
		return
	case closure.IsManifest(mediaType) && !closure.IsManifest(n.mediaType):
		n.mediaType, mediaType = mediaType, n.mediaType
	}
	if r.types == nil {
		r.types = map[digest.Digest][]string{}
	}
	r.types[n.digest] = appendType(r.types[n.digest], mediaType)
}

// appendType appends a media type to few, each once.
func appendType(types []string, mediaType string) []string {
	if len(types) >= maxSizes || slices.Contains(types, mediaType) {
		return types
	}
	return append(types, mediaType)
}

// typesOf are the media types that index.json files say of n.
func (r *Repository) typesOf(n *node) []string {
	if n.mediaType == "" {
		return nil
	}
	return append([]string{n.mediaType}, r.types[n.digest]...)
}

// discover adds the discovery tag name where no real tag has its name.
func (r *Repository) discover(name string, nodes map[digest.Digest]*node, tags map[string]*node) {
	if !names.IsTag(name) {
		r.problems = appendBounded(r.problems, Problem{Kind: IllegalName, Path: r.path, Tags: tagList(name),
			Reason: "the directory's name is no legal tag, so it has no discovery tag"})
		return
	}
	if tags[name] != nil {
		return
	}
	img := discovery.New(name)
	d := digest.FromBytes(img.Manifest)
	n := nodes[d]
	if n == nil {
		n = &node{digest: d, mediaType: img.MediaType}
		nodes[d] = n
	}
	n.claim(int64(len(img.Manifest)))
	tags[name] = n
	if r.synthetic == nil {
		r.synthetic = map[digest.Digest][]byte{}
	}
	for _, b := range [][]byte{img.Manifest, img.Config, img.Layer} {
		r.synthetic[digest.FromBytes(b)] = b
	}
}

func (r *Repository) problem(p *part, problem Problem) {
	r.problems = appendBounded(r.problems, p.where().problem(problem))
}
