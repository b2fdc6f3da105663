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

// Repository is the merged layouts of one path in all volumes, with the discovery tags of
// that path. It does not change, and its methods may be called concurrently.
type Repository struct {
	path       string
	layouts    []*indexedLayout // in the order of the volumes; empty if there are only discovery tags
	owners     []string         // owner of each layout: see findOwners
	discovery  []string         // names of the discovery tags, including those that are also real tags
	cache      *manifestCache
	quarantine *quarantine

	tags     []tagged // by tag
	top      []node   // manifests and blobs that the indexes name, by key
	images   discoveryImages
	problems []Problem // of the indexes and of merging them

	storage     *storage
	tableFlight wait.Flight[*table] // reads the table
	unfinished  unfinishedTable     // the table while a slow manifest delays it
	checkFlight wait.Flight[struct{}]
	table       atomic.Pointer[table]
	checked     atomic.Pointer[checked]
	suspect     atomic.Bool // content was refused that is in no known problem
}

type tagged struct {
	tag  string
	node *node
}

// Path returns the path of the repository's layouts; "." is the root layout.
func (r *Repository) Path() string { return r.path }

// Tag returns the descriptor of the manifest that tag leads to. It reads the manifest if
// descriptors disagree about its size. Errors: ErrManifestUnknown; the cause of ctx.
func (r *Repository) Tag(ctx context.Context, tag string) (Descriptor, error) {
	n, err := r.tagNode(tag)
	if err != nil {
		return Descriptor{}, err
	}
	return r.describe(ctx, n)
}

// TagDigest returns the digest of the manifest that tag leads to. It reads nothing. Errors:
// ErrManifestUnknown.
func (r *Repository) TagDigest(tag string) (digest.Digest, error) {
	n, err := r.tagNode(tag)
	if err != nil {
		return "", err
	}
	return n.digest(), nil
}

// tagNode returns the manifest that tag leads to. Errors: ErrManifestUnknown.
func (r *Repository) tagNode(tag string) (*node, error) {
	i, ok := slices.BinarySearchFunc(r.tags, tag, func(t tagged, tag string) int { return strings.Compare(t.tag, tag) })
	if !ok {
		return nil, fmt.Errorf("tag %q: %w", tag, ErrManifestUnknown)
	}
	return r.tags[i].node, nil
}

// tagsAfter returns the tags that follow after in byte order.
func (r *Repository) tagsAfter(after string) []tagged {
	return r.tags[sort.Search(len(r.tags), func(i int) bool { return r.tags[i].tag > after }):]
}

// describe returns the descriptor of a manifest. The error is the cause of ctx.
func (r *Repository) describe(ctx context.Context, n *node) (Descriptor, error) {
	d := Descriptor{MediaType: n.mediaType(), Digest: n.digest(), Size: n.first.size}
	if n.dispute != nil { // at most one of the sizes is right
		switch m, err := r.load(ctx, n); {
		case err == nil:
			d.Size = m.Size
		case ctx.Err() != nil:
			return Descriptor{}, context.Cause(ctx)
		}
	}
	return d, nil
}

// Untagged returns the manifests that an index names without a tag, by digest. It reads a
// manifest if descriptors disagree about its size. The error is the cause of ctx.
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

// Tags returns at most n tags that follow after in byte order, or all of them if n is negative, and
// whether there are more. If after is empty, they begin with the first tag.
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

// AllTags returns the tags that follow after in byte order.
func (r *Repository) AllTags(after string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, t := range r.tagsAfter(after) {
			if !yield(t.tag) {
				return
			}
		}
	}
}

// topNode returns the node of a key if an index names it, or nil.
func (r *Repository) topNode(k key) *node {
	if i := r.topNumber(k); int(i) < len(r.top) && r.top[i].first.key == k {
		return &r.top[i]
	}
	return nil
}

// topNumber returns the number of the first node in top whose key is not less than k.
func (r *Repository) topNumber(k key) int32 {
	return int32(sort.Search(len(r.top), func(i int) bool { return r.top[i].first.key.compare(k) >= 0 })) // it fits: MaxIndex limits the file
}

// appendProblem appends a problem of content that a top node leads to, with the tag of the
// node. If the problem has no place, it gets that of the last layout that names the node. It
// appends no more than [maxProblems], because finding the layout is slow.
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
