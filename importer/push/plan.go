package push

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// Plan is what a push carries, and where.
type Plan struct {
	Destination  client.Reference
	Repositories []*Repository // by name
	Blobs        []*Blob       // each once, the largest first
	Gaps         []Gap         // what the tree has not as it should
	// NonDistributable are layers that the tree lacks and may lack, by their media type.
	NonDistributable []Gap
}

// Repository is a repository of the registry.
type Repository struct {
	Name      string
	Manifests []*Manifest // each behind those that it needs
	Tags      []Tag       // by name, discovery tags too
}

// Tag is a tag and what it leads to.
type Tag struct {
	Name      string
	Digest    digest.Digest
	Discovery bool
}

// Manifest is a manifest of a repository.
type Manifest struct {
	closure.Descriptor
	Refs      closure.Refs
	Tags      []string // that lead to it
	Discovery bool     // it is that of a discovery tag
	Blobs     []*Blob  // that have to be there before it

	from *layoutstore.Repository
}

// Blob is a blob of the tree.
type Blob struct {
	Digest       digest.Digest
	Size         int64         // bytes
	Repositories []*Repository // that need it, by name

	from *layoutstore.Repository
}

// Gap is something of the tree that cannot be pushed.
type Gap struct {
	Repository string        `json:"repository"` // in the registry
	Tags       []string      `json:"tags"`       // that lead to it
	Digest     digest.Digest `json:"digest"`
	Reason     string        `json:"reason"`
}

func (g Gap) String() string {
	s := g.Repository + "@" + g.Digest.String() + ": " + g.Reason
	if len(g.Tags) > 0 {
		s += " (tags " + strings.Join(g.Tags, ", ") + ")"
	}
	return s
}

// NewPlan plans to push what s selects of a snapshot. Repositories without content are
// passed over. Manifests with a gap, and those that need them, are not part of the
// plan; the gaps are listed. Errors: a name that the registry cannot have;
// layoutstore.ErrStale where the tree has to be read anew; those that
// layoutstore.Exhausted knows; the context's.
func NewPlan(ctx context.Context, tree *layoutstore.Snapshot, to client.Reference, s Selection) (*Plan, error) {
	p := &planning{plan: &Plan{Destination: to}, selection: s, repositories: map[string]*Repository{}, blobs: map[digest.Digest]*Blob{}}
	sources, err := p.read(ctx, tree)
	if err != nil {
		return nil, err
	}
	for _, src := range sources {
		if err := p.add(ctx, src); err != nil {
			return nil, err
		}
	}
	p.finish()
	return p.plan, nil
}

// planning is a plan that is being made.
type planning struct {
	plan         *Plan
	selection    Selection
	selected     []string // paths
	repositories map[string]*Repository
	blobs        map[digest.Digest]*Blob
}

// source is a repository of the tree that takes part.
type source struct {
	path  string
	repo  *layoutstore.Repository
	graph *closure.Graph
	whole bool // else only its discovery tags of what is selected
}

// read reads all that is selected, on all cores.
func (p *planning) read(ctx context.Context, tree *layoutstore.Snapshot) ([]*source, error) {
	paths := tree.Paths()
	for _, path := range paths {
		if p.selection.Has(path) {
			p.selected = append(p.selected, path)
		}
	}
	sources := make([]*source, len(paths))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, path := range paths {
		group.Go(func() error {
			repo, err := tree.At(path)
			if err != nil {
				return err
			}
			whole := p.selection.Has(path)
			if !whole && !slices.ContainsFunc(p.selected, func(s string) bool { return strings.HasPrefix(s, path+"/") }) {
				return nil
			}
			graph, err := repo.Closure(ctx)
			sources[i] = &source{path, repo, graph, whole}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(sources, func(s *source) bool { return s == nil }), nil
}

// add adds a repository of the tree.
func (p *planning) add(ctx context.Context, src *source) error {
	var wanted []*closure.Manifest
	for _, m := range src.graph.Manifests {
		if p.wanted(src, m) {
			wanted = append(wanted, m)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	name := p.selection.Name(p.plan.Destination, src.path)
	if !names.IsRepository(name) {
		return nameError(src.path, name)
	}
	r := p.repositories[name]
	if r == nil {
		r = &Repository{Name: name}
		p.repositories[name] = r
	}
	return p.addManifests(ctx, r, src, wanted)
}

// ErrName says that a repository would have a name in the registry that none can have.
var ErrName = errors.New("not a legal repository name")

func nameError(path, name string) error {
	if name == "" {
		return fmt.Errorf("the layout at the root of the tree has no name of its own, and the destination has no path to name it by: %w", ErrName)
	}
	return fmt.Errorf("%s would be pushed to %q: %w", path, name, ErrName)
}

// wanted says whether a manifest of a source is selected: all are, or it is that of a
// discovery tag for something that is.
func (p *planning) wanted(src *source, m *closure.Manifest) bool {
	if !src.repo.IsDiscovery(m.Digest) {
		return src.whole
	}
	return slices.ContainsFunc(m.Tags, func(tag string) bool { return p.discovers(src.path, tag) })
}

// discovers says whether something is selected that the discovery tag stands for.
func (p *planning) discovers(path, tag string) bool {
	below := path + "/" + tag
	return slices.ContainsFunc(p.selected, func(s string) bool { return s == below || strings.HasPrefix(s, below+"/") })
}

// addManifests adds manifests in their order. One with a gap is left out, and so is
// what needs it.
func (p *planning) addManifests(ctx context.Context, r *Repository, src *source, manifests []*closure.Manifest) error {
	have := map[digest.Digest]bool{}
	for _, m := range r.Manifests {
		have[m.Digest] = true
	}
	blobs, err := p.blobsOf(ctx, src)
	if err != nil {
		return err
	}
	broken := map[digest.Digest]bool{}
	for _, m := range manifests {
		reason := gapOf(m, broken, blobs)
		if reason != "" {
			broken[m.Digest] = true
			p.plan.Gaps = append(p.plan.Gaps, Gap{r.Name, m.TagsTo(), m.Digest, reason})
			continue
		}
		p.tag(r, src, m)
		if have[m.Digest] {
			continue // it came from another path
		}
		added := &Manifest{Descriptor: m.Descriptor, Refs: m.Refs, Discovery: src.repo.IsDiscovery(m.Digest), from: src.repo}
		for _, ref := range m.Refs.Blobs {
			if found := blobs[ref.Digest]; found.blob != nil {
				added.Blobs = append(added.Blobs, p.need(r, found.blob, src.repo))
			} else {
				p.plan.NonDistributable = append(p.plan.NonDistributable, Gap{r.Name, m.TagsTo(), ref.Digest, "a non-distributable layer that the sources do not have"})
			}
		}
		r.Manifests = append(r.Manifests, added)
	}
	return nil
}

// found is what the tree has of a blob.
type found struct {
	blob *layoutstore.Blob // nil where it has none
	gap  string
}

// blobsOf looks for the blobs of a source.
func (p *planning) blobsOf(ctx context.Context, src *source) (map[digest.Digest]found, error) {
	blobs := make(map[digest.Digest]found, len(src.graph.Blobs))
	for _, b := range src.graph.Blobs {
		blob, err := src.repo.Blob(ctx, b.Digest)
		switch {
		case err == nil:
			blobs[b.Digest] = found{blob: blob}
		case errors.Is(err, layoutstore.ErrBlobUnknown):
			blobs[b.Digest] = found{gap: reasonOf(err)}
		default:
			return nil, err
		}
	}
	return blobs, nil
}

// reasonOf is what is wrong with a blob, without its digest.
func reasonOf(err error) string {
	var refused *layoutstore.ProblemError
	if errors.As(err, &refused) {
		return refused.Problem.Reason
	}
	return notThere
}

// notThere is the reason of a gap that nothing is known of but that.
const notThere = "not there"

// gapOf says why a manifest cannot be pushed; "" is that it can.
func gapOf(m *closure.Manifest, broken map[digest.Digest]bool, blobs map[digest.Digest]found) string {
	if m.Gap != nil {
		return m.Gap.Error()
	}
	if len(m.Refs.Faults) > 0 {
		return m.Refs.Faults[0]
	}
	for _, d := range m.Refs.Children {
		if broken[d.Digest] {
			return fmt.Sprintf("its child %s cannot be pushed", d.Digest)
		}
	}
	for _, ref := range m.Refs.Blobs {
		b := blobs[ref.Digest]
		switch {
		case b.blob == nil && !(ref.Optional && b.gap == notThere):
			return fmt.Sprintf("blob %s: %s", ref.Digest, b.gap)
		case b.blob != nil && b.blob.Size != ref.Size:
			return fmt.Sprintf("blob %s: %d bytes, the manifest says %d", ref.Digest, b.blob.Size, ref.Size)
		}
	}
	return ""
}

// tag adds the tags of a manifest. A real tag wins over a discovery tag of its name,
// where both come to lie in one repository.
func (p *planning) tag(r *Repository, src *source, m *closure.Manifest) {
	synthetic := src.repo.IsDiscovery(m.Digest)
	for _, name := range m.Tags {
		if synthetic && !p.discovers(src.path, name) {
			continue
		}
		i := slices.IndexFunc(r.Tags, func(t Tag) bool { return t.Name == name })
		switch {
		case i < 0:
			r.Tags = append(r.Tags, Tag{name, m.Digest, synthetic})
		case r.Tags[i].Discovery || !synthetic:
			r.Tags[i] = Tag{name, m.Digest, synthetic}
		}
	}
}

// need notes that a repository needs a blob.
func (p *planning) need(r *Repository, b *layoutstore.Blob, from *layoutstore.Repository) *Blob {
	have := p.blobs[b.Digest]
	if have == nil {
		have = &Blob{Digest: b.Digest, Size: b.Size, from: from}
		p.blobs[b.Digest] = have
		p.plan.Blobs = append(p.plan.Blobs, have)
	}
	if !slices.Contains(have.Repositories, r) {
		have.Repositories = append(have.Repositories, r)
	}
	return have
}

// finish sorts, and gives manifests the tags that lead to them in the end.
func (p *planning) finish() {
	for _, r := range p.repositories {
		slices.SortFunc(r.Tags, func(a, b Tag) int { return cmp.Compare(a.Name, b.Name) })
		tags := map[digest.Digest][]string{}
		for _, t := range r.Tags {
			tags[t.Digest] = append(tags[t.Digest], t.Name)
		}
		for _, m := range r.Manifests {
			m.Tags = tags[m.Digest]
		}
		p.plan.Repositories = append(p.plan.Repositories, r)
	}
	byName := func(a, b *Repository) int { return cmp.Compare(a.Name, b.Name) }
	slices.SortFunc(p.plan.Repositories, byName)
	for _, b := range p.plan.Blobs {
		slices.SortFunc(b.Repositories, byName)
	}
	slices.SortFunc(p.plan.Blobs, func(a, b *Blob) int { return cmp.Or(-cmp.Compare(a.Size, b.Size), cmp.Compare(a.Digest, b.Digest)) })
}

// open opens the blob in the tree.
func (b *Blob) open(ctx context.Context) (io.ReadSeekCloser, error) {
	blob, err := b.from.Blob(ctx, b.Digest)
	if err != nil {
		return nil, err
	}
	if blob.Size != b.Size {
		return nil, fmt.Errorf("%s: %d bytes, %d when the push was planned: %w", b.Digest, blob.Size, b.Size, layoutstore.ErrStale)
	}
	return blob.Open()
}
