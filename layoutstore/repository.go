package layoutstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
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
