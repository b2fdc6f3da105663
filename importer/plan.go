package importer

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
)

// content is a blob or a manifest of the bundle. What several repositories have is
// one content: it is read once.
type content struct {
	digest digest.Digest
	size   int64 // bytes; of the copy that proves right
	copies []copyOf
	repo   string   // the first path that has it
	wanted []string // paths that have it, each once
	places []string // layouts of the store that get it: they lack it, or have it wrong
	held   []*held  // copies of it in the store, of the right size and yet to be proven
	wrong  []string // layouts of the store that have a file of its name and of another size
	proven bool     // its digest was computed and is right
	from   copyOf   // the copy that proved right; none where an import before had staged it
}

// name is the path of a blob below a layout.
func blobName(layout string, d digest.Digest) string {
	return path.Join(layout, "blobs", d.Algorithm().String(), d.Encoded())
}

// survey is what an import has to do.
type survey struct {
	session  *session
	bundle   *bundle
	target   *layoutstore.Snapshot // the store's tree
	contents []*content            // in an order in which they are likely to lie
	byDigest map[digest.Digest]*content
	gaps     *gaps
	// nonDistributable are layers that are not in the bundle and need not be.
	nonDistributable gaps
	// contradicted are descriptors whose media type the manifest contradicts.
	contradicted map[typedDigest]bool
	// repaired are the paths in the tree of blobs of the store that proved wrong.
	repaired map[string]bool
	// receivers are the layouts of the store that get blobs; nil until they are asked for.
	receivers map[string]bool
	// needed are the paths in the tree of the blobs that something whole leads to.
	// It is nil as long as everything is whole.
	needed map[string]bool
}

// typedDigest is what descriptors in one repository of the bundle say of a manifest.
type typedDigest struct {
	repository string
	digest     digest.Digest
	mediaType  string
}

// survey reads all manifests of the bundle and finds out what it has, what it lacks,
// and what the store lacks of it. No blob is read.
func (s *session) survey(ctx context.Context, b *bundle) (*survey, error) {
	tree, err := layoutstore.Open(ctx, layoutstore.Options{Sources: []string{s.options.Store}, Indexes: []string{}, CacheDir: s.options.CacheDir})
	if err != nil {
		return nil, err
	}
	v := &survey{session: s, bundle: b, target: tree.Snapshot(), byDigest: map[digest.Digest]*content{}, gaps: b.gaps(), contradicted: map[typedDigest]bool{}, repaired: map[string]bool{}}
	for _, at := range b.Paths() {
		if reserved(at) {
			continue
		}
		if err := v.repository(ctx, at); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// repository takes in what one repository of the bundle has.
func (v *survey) repository(ctx context.Context, at string) error {
	repo, err := v.bundle.At(at)
	if err != nil {
		return err
	}
	graph, err := repo.Closure(ctx)
	if err != nil {
		return err
	}
	from := len(v.contents)
	for _, m := range graph.Manifests {
		if m.Gap != nil {
			v.gaps.add(of(repo, m.TagsTo(), manifestGap(repo, m)))
			continue
		}
		for _, t := range m.Contradicted {
			v.contradicted[typedDigest{at, m.Digest, t}] = true
			v.gaps.add(of(repo, m.TagsTo(), placed(repo, layoutstore.Problem{Kind: layoutstore.Damaged, Digest: m.Digest, Reason: fmt.Sprintf("a descriptor says %.100q, and it is %.100q", t, m.MediaType)})))
		}
		for _, fault := range m.Refs.Faults {
			v.gaps.add(of(repo, m.TagsTo(), placed(repo, layoutstore.Problem{Kind: layoutstore.Damaged, Digest: m.Digest, Reason: fault})))
		}
		if err := v.add(repo, m.Digest, []int64{m.Size}, m.Claims, false, m.TagsTo); err != nil {
			return err
		}
	}
	for _, b := range graph.Blobs {
		var sizes []int64
		for _, c := range b.Claims {
			if !slices.Contains(sizes, c.Size) {
				sizes = append(sizes, c.Size)
			}
		}
		if err := v.add(repo, b.Digest, sizes, sizes, b.Optional, b.TagsTo); err != nil {
			return err
		}
	}
	slices.SortStableFunc(v.contents[from:], func(a, b *content) int { return cmp.Compare(a.digest, b.digest) })
	return nil
}

// add takes in a blob of a repository. sizes are those that it may have, claims those
// that descriptors say.
func (v *survey) add(repo *layoutstore.Repository, d digest.Digest, sizes, claims []int64, optional bool, tags func() []string) error {
	copies, lack, err := find(repo, d, sizes)
	if err != nil {
		return err
	}
	if lack == nil && !d.Algorithm().Available() {
		lack = &layoutstore.Problem{Kind: layoutstore.Limited, Digest: d, Reason: "an algorithm that this program does not compute"}
	}
	if lack != nil {
		if !optional || lack.Kind == layoutstore.Damaged || lack.Reason != notThere {
			v.gaps.add(of(repo, tags(), *lack))
		} else {
			v.nonDistributable.add(of(repo, tags(), *lack))
		}
		return nil
	}
	size := copies[0].size
	for _, claim := range claims {
		if claim != size {
			v.gaps.add(of(repo, tags(), placed(repo, layoutstore.Problem{Kind: layoutstore.Damaged, Digest: d, Reason: fmt.Sprintf("%d bytes, the descriptor says %d", size, claim)})))
		}
	}
	c := v.byDigest[d]
	if c == nil {
		c = &content{digest: d, size: size, repo: repo.Path()}
		v.byDigest[d] = c
		v.contents = append(v.contents, c)
	}
	c.copies = append(c.copies, copies...)
	if n := len(c.wanted); n == 0 || c.wanted[n-1] != repo.Path() {
		c.wanted = append(c.wanted, repo.Path())
	}
	return nil
}

// wantedBlobs are the paths in the tree of the blobs that have to be staged.
func (v *survey) wantedBlobs() map[string]bool {
	wanted := map[string]bool{}
	for _, c := range v.contents {
		for _, at := range c.places {
			if name := blobName(at, c.digest); v.needed == nil || v.needed[name] || v.repaired[name] {
				wanted[name] = true
			}
		}
	}
	return wanted
}

// whole finds which of the digests that the repository's indexes name are whole: all
// that they lead to is proven. What they lead to is needed from then on.
func (v *survey) whole(ctx context.Context, repo *layoutstore.Repository) (map[digest.Digest]bool, error) {
	graph, err := repo.Closure(ctx)
	if err != nil {
		return nil, err
	}
	// lacks says whether something is missing that is needed, or not as it has to be.
	lacks := func(d digest.Digest, size int64, optional bool) bool {
		_, lack, err := find(repo, d, []int64{size})
		if err != nil || lack != nil {
			return !optional || err != nil || lack.Kind == layoutstore.Damaged || lack.Reason != notThere
		}
		c := v.byDigest[d]
		return c == nil || !c.proven || c.size != size
	}
	ok := map[digest.Digest]bool{}
	optional := map[digest.Digest]bool{}
	for _, b := range graph.Blobs {
		optional[b.Digest] = b.Optional
		for _, c := range b.Claims {
			if c.By == nil { // the index names it for itself
				ok[b.Digest] = ok[b.Digest] || !lacks(b.Digest, c.Size, false)
			}
		}
	}
	for _, m := range graph.Manifests { // children come first
		ok[m.Digest] = m.Gap == nil && len(m.Refs.Faults) == 0 && !lacks(m.Digest, m.Size, false) &&
			!slices.ContainsFunc(m.Refs.Children, func(d closure.Descriptor) bool { return !ok[d.Digest] }) &&
			!slices.ContainsFunc(m.Refs.Blobs, func(r closure.Ref) bool { return lacks(r.Digest, r.Size, optional[r.Digest]) })
	}
	v.need(repo.Path(), graph, ok)
	return ok, nil
}

// need notes which blobs whole manifests lead to.
func (v *survey) need(at string, graph *closure.Graph, ok map[digest.Digest]bool) {
	if v.needed == nil {
		v.needed = map[string]bool{}
	}
	reached := map[digest.Digest]bool{}
	for _, m := range slices.Backward(graph.Manifests) { // parents come first
		if ok[m.Digest] && (m.Top || reached[m.Digest]) {
			v.needed[blobName(at, m.Digest)] = true
			for _, d := range m.Refs.Children {
				reached[d.Digest] = true
			}
			for _, r := range m.Refs.Blobs {
				v.needed[blobName(at, r.Digest)] = true
			}
		}
	}
	for _, b := range graph.Blobs {
		if ok[b.Digest] {
			v.needed[blobName(at, b.Digest)] = true
		}
	}
}
