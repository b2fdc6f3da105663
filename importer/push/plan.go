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

// Plan describes what a push writes into which repositories of the registry.
type Plan struct {
	Destination client.Reference
	// Repositories are sorted by name.
	Repositories []*Repository
	// Blobs lists each blob once, the largest first.
	Blobs []*Blob
	// Problems are problems in the selected sources that prevent a push of some content.
	Problems []layoutstore.Problem
	// LeftOut are the manifests that cannot be pushed, with the reasons. Each of them has a
	// problem, or leads to a manifest that has a problem. Their repository names are those in the
	// registry.
	LeftOut []layoutstore.Problem
	// NonDistributable are missing layers. Their media type allows the tree to omit them.
	NonDistributable []layoutstore.Problem
	// Notices say which discovery tags are not pushed, and why.
	Notices []string
}

// Repository is a repository of the registry.
type Repository struct {
	Name string `json:"name"`
	// Manifests are in the order of the push: each follows its children.
	Manifests []*Manifest `json:"manifests"`
	// Tags are sorted by name, and include discovery tags.
	Tags []Tag `json:"-"`
}

// Tag is a tag and the manifest that it leads to.
type Tag struct {
	Name      string
	Digest    digest.Digest
	Discovery bool
}

// Manifest is a manifest of a repository.
type Manifest struct {
	closure.Descriptor
	Refs closure.Refs `json:"-"`
	// Tags are the tags that lead to the manifest.
	Tags []string `json:"tags"`
	// Discovery means that the manifest is the image of a discovery tag.
	Discovery bool `json:"discovery,omitempty"`
	// Blobs are the blobs that must be pushed before the manifest.
	Blobs []*Blob `json:"-"`

	from *layoutstore.Repository
}

// Blob is a blob of the tree.
type Blob struct {
	Digest digest.Digest
	Size   int64
	// Repositories are the repositories that need the blob, sorted by name.
	Repositories []*Repository

	open func(context.Context) (io.ReadSeekCloser, error)
}

// NewPlan plans to push the selected repositories of a snapshot. It skips repositories without
// content. It also skips manifests that have a problem or lead to one, and lists the problems. It
// reads each manifest once. A push reads the manifest again, because the bytes of all manifests
// might not fit into memory.
//
// NewPlan fails with ErrName, with layoutstore.ErrStale if the tree must be refreshed, with an
// error that layoutstore.IsExhausted reports, or with the context's error.
func NewPlan(ctx context.Context, tree *layoutstore.Snapshot, to client.Reference, s Selection) (*Plan, error) {
	p := &planning{plan: &Plan{Destination: to}, selection: s, repositories: map[string]*Repository{}, blobs: map[digest.Digest]*Blob{}}
	sources, err := p.read(ctx, tree)
	if err != nil {
		return nil, err
	}
	p.problems(tree.ScanProblems(), sources)
	for _, src := range sources {
		src.sort(src.selected)
	}
	p.sources = sources
	for _, src := range sources {
		if err := p.add(src); err != nil {
			return nil, err
		}
	}
	p.finish()
	return p.plan, nil
}

type planning struct {
	plan         *Plan
	selection    Selection
	selected     []string // paths
	sources      []*source
	repositories map[string]*Repository
	blobs        map[digest.Digest]*Blob
}

// read audits the selected repositories, and the repositories that have discovery tags for them. It
// uses all cores.
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
		selected := p.selection.Has(path)
		if !selected && !slices.ContainsFunc(p.selected, func(s string) bool { return strings.HasPrefix(s, path+"/") }) {
			continue
		}
		group.Go(func() (err error) {
			sources[i], err = newSource(ctx, tree, path, selected)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(sources, func(s *source) bool { return s == nil }), nil
}

func (p *planning) add(src *source) error {
	var wanted []*closure.Manifest
	for _, m := range src.intact {
		if p.wanted(src, m) {
			wanted = append(wanted, m)
		}
	}
	if len(wanted)+len(src.leftOut) == 0 {
		return nil
	}
	name := p.selection.Name(p.plan.Destination, src.path)
	switch {
	case name == "":
		return fmt.Errorf("the layout at the root of the tree has no name, because the destination has no path: %w", ErrName)
	case !names.IsRepository(name):
		return fmt.Errorf("%s would be pushed to %q: %w", src.path, name, ErrName)
	}
	for _, left := range src.leftOut {
		left.Repository = name
		p.plan.LeftOut = append(p.plan.LeftOut, left)
	}
	r := p.repositories[name]
	if r == nil {
		r = &Repository{Name: name}
		p.repositories[name] = r
	}
	p.addManifests(r, src, wanted)
	return nil
}

// ErrName reports that a repository would have an illegal name in the registry.
var ErrName = errors.New("not a legal repository name")

// wanted reports whether an intact manifest of a source is pushed. Its repository must be selected,
// or it must be the image of a discovery tag for a selected repository.
func (p *planning) wanted(src *source, m *closure.Manifest) bool {
	if !src.repo.IsDiscovery(m.Digest) {
		return src.selected
	}
	wanted := false
	for _, tag := range m.Tags {
		if !p.discovers(src.path, tag) {
			continue
		}
		if reason := p.whyUndiscovered(src.path + "/" + tag); reason != "" {
			p.plan.Notices = append(p.plan.Notices, fmt.Sprintf("the discovery tag %s:%s is not pushed: %s", src.path, tag, reason))
			continue
		}
		wanted = true
	}
	return wanted
}

// discovers reports whether a discovery tag lists a selected repository, or one above a selected
// repository.
func (p *planning) discovers(path, tag string) bool {
	return slices.ContainsFunc(p.selected, func(s string) bool { return isAtOrBelow(s, path+"/"+tag) })
}

// whyUndiscovered returns why the discovery tag for the module at path is not pushed, or the empty
// string if it is. If all images of the module are left out, the registry must not list the module.
// The tag of a module that has no images is pushed, because layoutproxy itself lists such a module.
func (p *planning) whyUndiscovered(path string) string {
	leftOut := false
	for _, src := range p.sources {
		if !isAtOrBelow(src.path, path) || !src.selected {
			continue
		}
		if slices.ContainsFunc(src.intact, func(m *closure.Manifest) bool { return !src.repo.IsDiscovery(m.Digest) }) {
			return ""
		}
		leftOut = leftOut || len(src.leftOut) > 0
	}
	if leftOut {
		return "no image of " + path + " is intact"
	}
	return ""
}

// isAtOrBelow reports whether a path is dir or leads below it.
func isAtOrBelow(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// addManifests adds intact manifests of src, with their tags, to r in the given order.
func (p *planning) addManifests(r *Repository, src *source, manifests []*closure.Manifest) {
	have := map[digest.Digest]bool{}
	for _, m := range r.Manifests {
		have[m.Digest] = true
	}
	for _, m := range manifests {
		p.tag(r, src, m)
		if have[m.Digest] {
			continue // a different path of the tree has already added this manifest
		}
		added := &Manifest{Descriptor: m.Descriptor, Refs: m.Refs, Discovery: src.repo.IsDiscovery(m.Digest), from: src.repo}
		for _, ref := range m.Refs.Blobs {
			if b, ok := src.blob(ref.Digest); ok {
				added.Blobs = append(added.Blobs, p.need(r, b))
			} else {
				p.plan.NonDistributable = append(p.plan.NonDistributable, src.nonDistributable(r, m, ref))
			}
		}
		r.Manifests = append(r.Manifests, added)
	}
}

// tag adds the tags of a manifest. If a repository gets an ordinary tag and a discovery tag with
// the same name, the ordinary tag wins.
func (p *planning) tag(r *Repository, src *source, m *closure.Manifest) {
	synthetic := src.repo.IsDiscovery(m.Digest)
	for _, name := range m.Tags {
		if synthetic && (!p.discovers(src.path, name) || p.whyUndiscovered(src.path+"/"+name) != "") {
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

func (p *planning) need(r *Repository, b *Blob) *Blob {
	have := p.blobs[b.Digest]
	if have == nil {
		have = b
		p.blobs[b.Digest] = have
		p.plan.Blobs = append(p.plan.Blobs, have)
	}
	if !slices.Contains(have.Repositories, r) {
		have.Repositories = append(have.Repositories, r)
	}
	return have
}

// finish sorts the plan, and sets the final tags of each manifest. It removes repositories that
// have no manifest left.
func (p *planning) finish() {
	for _, r := range p.repositories {
		if len(r.Manifests) == 0 {
			continue
		}
		slices.SortFunc(r.Tags, func(a, b Tag) int { return cmp.Compare(a.Name, b.Name) })
		tags := map[digest.Digest][]string{}
		for _, t := range r.Tags {
			tags[t.Digest] = append(tags[t.Digest], t.Name)
		}
		for _, m := range r.Manifests {
			m.Tags = append([]string{}, tags[m.Digest]...)
		}
		p.plan.Repositories = append(p.plan.Repositories, r)
	}
	slices.SortFunc(p.plan.Repositories, compareNames)
	for _, b := range p.plan.Blobs {
		slices.SortFunc(b.Repositories, compareNames)
	}
	slices.SortFunc(p.plan.Blobs, func(a, b *Blob) int { return cmp.Or(-cmp.Compare(a.Size, b.Size), cmp.Compare(a.Digest, b.Digest)) })
}

func compareNames(a, b *Repository) int { return cmp.Compare(a.Name, b.Name) }
