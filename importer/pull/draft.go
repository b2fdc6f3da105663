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
	// Check rejects contradictory options and those that do not fit the source, before any request.
	// Errors: ErrUsage.
	Check(source client.Reference) error
	// Plan adds the chosen content to a draft. It is called again, with a new draft, when an
	// optional unit turns out to be incomplete: see [Draft.Skips]. It must then make the same
	// requests to the source.
	Plan(ctx context.Context, d *Draft) error
}

// Draft is a plan under construction. Its methods may be called from several goroutines.
type Draft struct {
	Root     client.Reference // REGISTRY/PATH
	Source   *Source          // reads the registry
	Platform *Platform        // of the options; nil for none

	jobs       int
	noTagLists bool
	allow      *allowance // nil if the pull must be complete

	mu         sync.Mutex
	layouts    map[string]*Layout // by archive and path
	order      []*Layout
	components []*Component
	problems   []Problem
	incomplete map[Unit]bool // incomplete units
	missing    []Problem     // optional content that is missing in the source
	files      []PlannedFile
}

func newDraft(o Options, src *Source, allow *allowance) *Draft {
	return &Draft{Root: o.Source, Source: src, Platform: o.Platform, jobs: o.Jobs, allow: allow, layouts: map[string]*Layout{}, incomplete: map[Unit]bool{}}
}

// Layout is a layout that is being planned.
type Layout struct {
	Path       string // in the bundle
	Repository string // in the registry

	rules   Rules
	archive string
	planned bundle.Layout           // of the complete layout
	images  map[string]bundle.Image // by tag, or by digest if untagged
	digests map[digest.Digest]bool  // digests of these images

	referrers int                    // number of manifests found in lists of referrers
	problems  []Problem              // of an optional layout
	neededBy  map[string][]Unit      // by tag
	skipped   map[digest.Digest]bool // digests of incomplete images
}

// Rules are the rules by which a layout is planned.
type Rules struct {
	Part     Part      // of problems with its images
	Platform *Platform // keep only this image of an index; nil keeps the index
	Empty    Empty     // whether to keep the layout without images
	Optional bool      // skip the layout if any of its content is missing

	Attestations Attestations // that are pulled with its images
	AttestIn     *Layout      // layout for the attestations; nil for the same layout
}

// Empty decides whether a layout without images is kept.
type Empty int

// A layout without images is skipped; or kept if its archive has other images; or always
// kept.
const (
	LeaveEmptyOut Empty = iota
	KeepEmptyBesideOthers
	KeepEmpty
)

// Attestations decides which attestations are pulled with images.
type Attestations int

// Attestations are found by the digest and by the tag of an image, by its digest only, or
// not at all.
const (
	AttestationsByTag Attestations = iota
	AttestationsByDigest
	NoAttestations
)

// Layout returns the layout at a path of an archive. The first call creates it with its rules.
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

// Copy adds to a layout the images that are planned for the layout at a path of another
// archive, and returns their tags.
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

// File plans a file beside the archives.
func (d *Draft) File(name string, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files = append(d.files, PlannedFile{Name: name, Size: int64(len(data)), data: data})
}

// DisableTagLists makes the pull request each tag, for a source that lists no tags.
func (d *Draft) DisableTagLists() { d.noTagLists = true }

// Each calls do for 0 to n-1, several at a time.
func (d *Draft) Each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(d.jobs)
	for i := range n {
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}

// eachLayout calls do for each layout, several at a time.
func (d *Draft) eachLayout(ctx context.Context, do func(ctx context.Context, l *Layout) error) error {
	return d.Each(ctx, len(d.order), func(ctx context.Context, i int) error { return do(ctx, d.order[i]) })
}

// plan runs the planner and completes the layouts. Errors: ErrUsage, *IncompleteError,
// errIncompleteUnits; those of the planner and of the client.
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

// assemble turns the layouts into a plan.
func (d *Draft) assemble() (*Plan, error) {
	plan := &Plan{Source: d.Root.String(), Archives: []*bundle.Archive{}, Files: d.files, Missing: sortProblems(d.missing), Problems: []Problem{}}
	if d.allow != nil {
		plan.Problems = append(plan.Problems, d.allow.problems...)
	}
	layouts, keep := map[string][]*bundle.Layout{}, map[string]bool{}
	for _, l := range d.order {
		if len(l.planned.Images) > 0 || l.rules.Empty != LeaveEmptyOut {
			layouts[l.archive] = append(layouts[l.archive], &l.planned)
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

// errIncompleteUnits reports that a plan has incomplete units, and must be made without them.
var errIncompleteUnits = errors.New("planned with incomplete units")

// makePlan makes a plan, and repeats that without units that turn out to be incomplete.
func makePlan(ctx context.Context, o Options, src *Source, allow *allowance) (*Plan, error) {
	for {
		plan, err := newDraft(o, src, allow).plan(ctx, o.Planner)
		if !errors.Is(err, errIncompleteUnits) {
			return plan, err
		}
	}
}
