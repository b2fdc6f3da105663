package layoutstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/discovery"
	"github.com/layoutproxy/layoutproxy/layoutstore/wait"
)

// Repository is the union of the layouts of one path over all volumes, and the
// discovery tags of that path. It does not change, and its methods may be called
// at the same time from several goroutines.
type Repository struct {
	path       string
	parts      []*part  // in the order of the volumes; empty if it is there for discovery only
	owners     []string // by part: whose tags a root layout has that names several repositories
	discovery  []string // names of the discovery tags, also those that a real tag hides
	cache      *manifestCache
	quarantine *quarantine

	tags      []tagged // by tag
	top       []*node  // what the indexes name, by digest
	synthetic map[digest.Digest][]byte
	types     map[digest.Digest][]string // that descriptors say beside the node's, where they disagree
	problems  []Problem                  // of the indexes and of their union

	storage  *storage
	flight   wait.Flight[*contents] // the reading of contents
	early    early                  // while that takes long
	checking wait.Flight[struct{}]
	contents atomic.Pointer[contents]
	checked  atomic.Pointer[checked]
	suspect  atomic.Bool // something was refused that a check had found whole
}

type tagged struct {
	tag  string
	node *node
}

// node is a manifest that is reachable from an index.
type node struct {
	digest    digest.Digest
	mediaType string  // of the first descriptor that has one, and rather one of a manifest
	sizes     []int64 // that descriptors claim, each once
	tag       string  // one that leads to it, for problems; may be empty
	kept      atomic.Pointer[Manifest]
}

// maxSizes is how many sizes or media types of one manifest are told apart. One is right at most.
const maxSizes = 8

func (n *node) claim(size int64) { n.sizes = appendSize(n.sizes, size) }

func appendSize(sizes []int64, size int64) []int64 {
	if len(sizes) >= maxSizes || slices.Contains(sizes, size) {
		return sizes
	}
	return append(sizes, size)
}

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
			r.problem(p, Problem{Kind: Conflict, Tag: tag, Digest: n.digest,
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
	if !ValidTag(name) {
		r.problems = appendBounded(r.problems, Problem{Kind: IllegalName, Path: r.path, Tag: name,
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

// Path is the path of the repository's layouts; "." is the root layout.
func (r *Repository) Path() string { return r.path }

// Tag is the descriptor that tag leads to. Errors: ErrManifestUnknown.
func (r *Repository) Tag(tag string) (Descriptor, error) {
	i := sort.Search(len(r.tags), func(i int) bool { return r.tags[i].tag >= tag })
	if i == len(r.tags) || r.tags[i].tag != tag {
		return Descriptor{}, fmt.Errorf("tag %q: %w", tag, ErrManifestUnknown)
	}
	return r.describe(r.tags[i].node), nil
}

// TagDigest is the digest of the manifest that tag leads to. It reads nothing. Errors:
// ErrManifestUnknown.
func (r *Repository) TagDigest(tag string) (digest.Digest, error) {
	i := sort.Search(len(r.tags), func(i int) bool { return r.tags[i].tag >= tag })
	if i == len(r.tags) || r.tags[i].tag != tag {
		return "", fmt.Errorf("tag %q: %w", tag, ErrManifestUnknown)
	}
	return r.tags[i].node.digest, nil
}

// describe is the descriptor of a manifest.
func (r *Repository) describe(n *node) Descriptor {
	d := Descriptor{MediaType: n.mediaType, Digest: n.digest, Size: n.sizes[0]}
	if len(n.sizes) > 1 { // one of them at most is true
		if m, err := r.load(context.Background(), n); err == nil {
			d.Size = m.Size
		}
	}
	return d
}

// Untagged are the manifests that an index names and no tag leads to, by digest.
func (r *Repository) Untagged() []Descriptor {
	var all []Descriptor
	for _, n := range r.top {
		if n.tag == "" && closure.IsManifest(n.mediaType) {
			all = append(all, r.describe(n))
		}
	}
	return all
}

// Tags are at most n tags behind after in byte order, all of them where n is
// negative, and whether there are more. The empty after is before every tag.
func (r *Repository) Tags(after string, n int) (tags []string, more bool) {
	from := sort.Search(len(r.tags), func(i int) bool { return r.tags[i].tag > after })
	page := r.tags[from:]
	if n >= 0 && n < len(page) {
		page, more = page[:n], true
	}
	tags = make([]string, len(page))
	for i, t := range page {
		tags[i] = t.tag
	}
	return tags, more
}

// topNode is the manifest d where an index names it.
func (r *Repository) topNode(d digest.Digest) *node {
	i, ok := slices.BinarySearchFunc(r.top, d, func(n *node, d digest.Digest) int { return cmp.Compare(n.digest, d) })
	if !ok {
		return nil
	}
	return r.top[i]
}
