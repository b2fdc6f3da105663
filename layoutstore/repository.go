package layoutstore

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sort"
	"strings"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/wait"
)

// Repository contains the merged layouts with the same path in all volumes, and discovery tags. It
// does not change, and its methods may be called concurrently.
type Repository struct {
	path       string
	layouts    []*indexedLayout // in merge order; empty if there are only discovery tags
	owners     []string         // owner of each layout: see findOwners
	discovery  []string         // discovery tags, including those that are also real tags
	cache      *manifestCache
	quarantine *quarantine

	tags     []tagged // sorted by tag
	top      []node   // manifests and blobs that the indexes name, sorted by key
	images   discoveryImages
	problems []Problem // problems that were found in the indexes and in merging them

	storage     *storage
	tableFlight wait.Flight[*table] // lets concurrent callers share one read of the table
	unfinished  unfinishedTable     // access to the table while a slow manifest delays it
	checkFlight wait.Flight[struct{}]
	table       atomic.Pointer[table]
	checked     atomic.Pointer[checked]
	suspect     atomic.Bool // whether content without a known problem was refused
}

type tagged struct {
	tag  string
	node *node
}

// Path returns the path of the layouts of the repository. "." is the root layout.
func (r *Repository) Path() string { return r.path }

// Tag returns the descriptor of the manifest with a tag. If descriptors disagree about the size, it
// reads the manifest. The error is ErrManifestUnknown or the cause of ctx.
func (r *Repository) Tag(ctx context.Context, tag string) (Descriptor, error) {
	n, err := r.tagNode(tag)
	if err != nil {
		return Descriptor{}, err
	}
	return r.describe(ctx, n)
}

// TagDigest returns the digest of the manifest with a tag. It reads no file. If there is no such
// tag, the error is ErrManifestUnknown.
func (r *Repository) TagDigest(tag string) (digest.Digest, error) {
	n, err := r.tagNode(tag)
	if err != nil {
		return "", err
	}
	return n.digest(), nil
}

// tagNode returns the manifest with a tag. The error is ErrManifestUnknown.
func (r *Repository) tagNode(tag string) (*node, error) {
	i, ok := slices.BinarySearchFunc(r.tags, tag, func(t tagged, tag string) int { return strings.Compare(t.tag, tag) })
	if !ok {
		return nil, fmt.Errorf("tag %q: %w", tag, ErrManifestUnknown)
	}
	return r.tags[i].node, nil
}

// tagsAfter returns all tags that are greater than the parameter after, in byte order.
func (r *Repository) tagsAfter(after string) []tagged {
	return r.tags[sort.Search(len(r.tags), func(i int) bool { return r.tags[i].tag > after }):]
}

// describe returns the descriptor of a manifest. The error is the cause of ctx.
func (r *Repository) describe(ctx context.Context, n *node) (Descriptor, error) {
	d := Descriptor{MediaType: n.mediaType(), Digest: n.digest(), Size: n.first.size}
	if n.dispute != nil { // read the manifest, because at most one size is right
		switch m, err := r.load(ctx, n); {
		case err == nil:
			d.Size = m.Size
		case ctx.Err() != nil:
			return Descriptor{}, context.Cause(ctx)
		}
	}
	return d, nil
}

// Untagged returns descriptors of the manifests that have no tag in any index.json, sorted by digest.
// If descriptors disagree about the size of a manifest, it reads the manifest. The error is the
// cause of ctx.
func (r *Repository) Untagged(ctx context.Context) ([]Descriptor, error) {
	var all []Descriptor
	for i := range r.top {
		if n := &r.top[i]; n.tag == "" && n.isManifest() {
			d, err := r.describe(ctx, n)
			if err != nil {
				return nil, err
			}
			all = append(all, d)
		}
	}
	return all, nil
}

// Tags returns the tags that are greater than the parameter after, in byte order, but at most n of
// them. If n is negative, it returns all of them. If after is "", it begins with the first tag. more
// reports whether there are further tags.
func (r *Repository) Tags(after string, n int) (tags []string, more bool) {
	page := r.tagsAfter(after)
	if n >= 0 && n < len(page) {
		page, more = page[:n], true
	}
	tags = make([]string, len(page))
	for i, t := range page {
		tags[i] = t.tag
	}
	return tags, more
}

// TagCount returns the number of tags.
func (r *Repository) TagCount() int { return len(r.tags) }

// AllTags returns all tags that are greater than the parameter after, in byte order.
func (r *Repository) AllTags(after string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, t := range r.tagsAfter(after) {
			if !yield(t.tag) {
				return
			}
		}
	}
}

// topNode returns the node with a key. It returns nil if no index contains the key.
func (r *Repository) topNode(k key) *node {
	if i := r.topNumber(k); int(i) < len(r.top) && r.top[i].first.key == k {
		return &r.top[i]
	}
	return nil
}

// topNumber returns the position in top of the first node whose key is at least k.
func (r *Repository) topNumber(k key) int32 {
	return int32(sort.Search(len(r.top), func(i int) bool { return r.top[i].first.key.compare(k) >= 0 })) // the number fits into 32 bits, because MaxIndex limits an index
}

// appendProblem appends a problem of content to which a top node leads, with the tag of the node.
// If the problem has no place, its place is the last layout whose index contains the node. Finding
// this layout is slow, so appendProblem stops at [maxProblems].
func (r *Repository) appendProblem(problems []Problem, p Problem, top int32) []Problem {
	if len(problems) > maxProblems {
		return problems
	}
	n := &r.top[top]
	if p.Path == "" {
		p = r.namedBy(n).where().blob(p.Digest).problem(p)
	}
	p.Tags = tagList(n.tag)
	return appendBounded(problems, p)
}
