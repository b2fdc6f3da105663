package pull

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// Planner chooses what to pull from a source.
type Planner interface {
	// Check fails with ErrUsage if options contradict each other or do not fit the source. It is
	// called before any request.
	Check(source client.Reference) error
	// Plan adds the chosen content to a draft. If an optional unit turns out to be incomplete, Plan
	// is called again with a new draft: see [Draft.Skips]. Tags then lead to the same images as
	// before.
	Plan(ctx context.Context, d *Draft) error
}

// Draft is a plan under construction. Its methods except DisableTagLists are safe for concurrent use.
type Draft struct {
	// Root is the source, as REGISTRY/PATH.
	Root client.Reference
	// Source reads the registry.
	Source *Source
	// Platform is the platform of the options, or nil if they have none.
	Platform *Platform

	dir        string // directory of the bundle
	tree       bool   // whether the bundle gets directories instead of archives
	jobs       int
	noTagLists bool
	allow      *allowance // nil if the bundle must be complete

	mu         sync.Mutex
	layouts    map[string]*Layout // layouts by archive and path
	order      []*Layout
	components []*Component
	problems   []Problem
	// incomplete are the units that turned out to be incomplete.
	incomplete map[Unit]bool
	// missing are problems of optional content that the source does not have.
	missing []Problem
	files   []PlannedFile
	// outdated are names of files that the bundle must not have.
	outdated []string
}

func newDraft(o Options, src *Source, allow *allowance) *Draft {
	return &Draft{Root: o.Source, Source: src, Platform: o.Platform, dir: o.Dir, tree: o.Tree, jobs: o.Jobs, allow: allow, layouts: map[string]*Layout{}, incomplete: map[Unit]bool{}}
}

// Layout is a layout that a planner plans.
type Layout struct {
	// Path is the path in the bundle.
	Path string
	// Repository is the repository in the registry.
	Repository string

	rules   Rules
	archive string
	// planned is the layout once it is completely planned.
	planned bundle.Layout
	// images are the planned images by tag, or by digest if they have no tag.
	images  map[string]bundle.Image
	digests map[digest.Digest]bool

	// referrers is the number of manifests that were found in lists of referrers.
	referrers int
	// problems are the problems of this layout if it is optional.
	problems []Problem
	// neededBy maps the tag of an image to the units that need the image.
	neededBy map[string][]Unit
	// skipped are the digests of incomplete images.
	skipped map[digest.Digest]bool
}

// Rules say how a layout is planned.
type Rules struct {
	// Part says whether images of the layout are optional, and why.
	Part Part
	// Platform selects the only image that is kept from an index. If it is nil, the index itself is
	// kept.
	Platform *Platform
	// Empty decides whether the layout is kept if it has no images.
	Empty Empty
	// Optional means that the layout is skipped if any of its content is missing.
	Optional bool

	// Attestations decides which attestations are pulled with the images.
	Attestations Attestations
	// AttestIn is the layout that the attestations are added to. If it is nil, they are added to
	// the layout with these rules.
	AttestIn *Layout
}

// Empty decides whether a layout without images is kept.
type Empty int

// A layout without images is left out, kept only if its archive has other images, or always kept.
const (
	LeaveEmptyOut Empty = iota
	KeepEmptyBesideOthers
	KeepEmpty
)

// Attestations decides which attestations are pulled with images.
type Attestations int

// The attestations of an image are found by its digest and by its tag, only by its digest, or not
// at all.
const (
	AttestationsByTag Attestations = iota
	AttestationsByDigest
	NoAttestations
)

// Layout returns the layout at a path of an archive. The first call creates the layout, with the
// given rules.
func (d *Draft) Layout(archive, path, repository string, rules Rules) *Layout {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := archive + "\x00" + path
	l := d.layouts[key]
	if l == nil {
		l = &Layout{Path: path, Repository: repository, rules: rules, archive: archive,
			planned: bundle.Layout{Path: path, Repository: repository},
			images:  map[string]bundle.Image{}, digests: map[digest.Digest]bool{}, neededBy: map[string][]Unit{}, skipped: map[digest.Digest]bool{}}
		d.layouts[key] = l
		d.order = append(d.order, l)
	}
	return l
}

// Copy adds images to a layout, and returns their tags. The images are those that are planned for
// the layout at a path of another archive.
func (d *Draft) Copy(to *Layout, archive, path string) map[string]bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	tags := map[string]bool{}
	if from := d.layouts[archive+"\x00"+path]; from != nil {
		for tag, i := range from.images {
			to.images[tag], to.digests[i.Digest], tags[tag] = i, true, true
		}
	}
	return tags
}

// Component starts a component of the plan. Each archive belongs to a component.
func (d *Draft) Component(name string, archives ...string) *Component {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := &Component{Name: name, Archives: archives}
	d.components = append(d.components, c)
	return c
}

// File plans a file that is written beside the archives.
func (d *Draft) File(name string, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files = append(d.files, PlannedFile{Name: name, Size: int64(len(data)), data: data})
}

// RemoveFile plans to remove a file of an older bundle, because it does not fit the planned content.
func (d *Draft) RemoveFile(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.outdated = append(d.outdated, name)
}

// DisableTagLists makes the pull request tags one by one, because the source lists none.
func (d *Draft) DisableTagLists() { d.noTagLists = true }

// Each calls do with each number from 0 to n-1. Several calls run at the same time.
func (d *Draft) Each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(d.jobs)
	for i := range n {
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}

// eachLayout calls do with each layout, like Each. It skips optional layouts that are already incomplete: they are
// left out, so a request for more of their content must not end the pull.
func (d *Draft) eachLayout(ctx context.Context, do func(ctx context.Context, l *Layout) error) error {
	return d.Each(ctx, len(d.order), func(ctx context.Context, i int) error {
		if d.isLeftOut(d.order[i]) {
			return nil
		}
		return do(ctx, d.order[i])
	})
}

// plan runs the planner and completes the layouts. It fails with ErrUsage, *IncompleteError or
// errIncompleteUnits. Other errors come from the planner and the client.
func (d *Draft) plan(ctx context.Context, planner Planner) (*Plan, error) {
	if err := planner.Plan(ctx, d); err != nil {
		return nil, err
	}
	if err := d.eachLayout(ctx, d.addAttestations); err != nil {
		return nil, err
	}
	if err := d.eachLayout(ctx, d.complete); err != nil {
		return nil, err
	}
	d.emptyIncomplete()
	d.findContradictions()
	if err := d.judgeProblems(); err != nil {
		return nil, d.withLostBlobs(ctx, err)
	}
	plan, err := d.assemble()
	if err == nil && plan.Images() == 0 && len(plan.Problems) > 0 {
		return nil, Incomplete(markRequired(plan.Problems))
	}
	return plan, err
}

func (d *Draft) assemble() (*Plan, error) {
	plan := &Plan{Source: d.Root.String(), Archives: []*bundle.Archive{}, Files: d.files, optional: map[*bundle.Layout]bool{}, outdated: d.outdated, Missing: sortProblems(d.missing), Problems: []Problem{}}
	if d.allow != nil {
		plan.Problems = append(plan.Problems, d.allow.problems...)
	}
	layouts, keep := map[string][]*bundle.Layout{}, map[string]bool{}
	for _, l := range d.order {
		if len(l.planned.Images) > 0 || l.rules.Empty != LeaveEmptyOut {
			layouts[l.archive] = append(layouts[l.archive], &l.planned)
			plan.optional[&l.planned] = l.rules.Optional
			keep[l.archive] = keep[l.archive] || l.rules.Empty == KeepEmpty
		}
	}
	archives := map[string]*bundle.Archive{}
	for _, name := range sortedKeys(layouts) {
		a, err := bundle.NewArchive(name, layouts[name])
		if err != nil {
			return nil, err
		}
		archives[name] = a
		if keep[name] || a.CountImages() > 0 {
			plan.Archives = append(plan.Archives, a)
		}
	}
	plan.Components = slices.DeleteFunc(d.components, func(c *Component) bool {
		c.Archives = slices.DeleteFunc(c.Archives, func(name string) bool { return archives[name] == nil })
		for _, name := range c.Archives {
			c.Images += archives[name].CountImages()
			c.Bytes += archives[name].Size
		}
		return len(c.Archives) == 0 && len(c.Notes) == 0
	})
	return plan, nil
}

// errIncompleteUnits reports that some units of a plan are incomplete. The plan must be made again
// without them.
var errIncompleteUnits = errors.New("the plan has incomplete units")

// makePlan makes a plan. If units turn out to be incomplete, it makes the plan again without them.
func makePlan(ctx context.Context, o Options, src *Source, allow *allowance) (*Plan, error) {
	for {
		plan, err := newDraft(o, src, allow).plan(ctx, o.Planner)
		switch {
		case errors.Is(err, errIncompleteUnits):
			continue
		case err != nil:
			return nil, err
		}
		for _, a := range plan.Archives {
			if err := o.form().Check(a); err != nil {
				return nil, err
			}
		}
		return plan, nil
	}
}
