package pull

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/platform"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// planner collects what is to be pulled. Its methods may be called from several
// goroutines.
type planner struct {
	Options
	src *source

	mu         sync.Mutex
	layouts    map[string]*planned // by archive and path
	order      []*planned
	components []*Component
	gaps       []Gap
	incomplete map[unit]string // units that are not complete, and why
	allow      *allowance      // nil where a pull has to be complete
	lacking    []Gap           // what the source does not have, and a pull can do without
	files      []PlannedFile
	bundled    bundled // for the choice of plugins
}

// planned is a layout that is being planned.
type planned struct {
	*bundle.Layout
	archive string

	images  map[string]bundle.Image // by tag, or by digest where there is none
	digests map[digest.Digest]bool  // of them

	companions   int       // that referrers lists have named
	always       bool      // in its archive, though it is empty
	optional     bool      // left out where something of it is missing
	faults       []Gap     // of one that may be left out
	attestations *planned  // where those of its images are; itself if nil
	platform     *Platform // of which one image of an index is kept; nil keeps indexes whole

	piece    piece                  // that its images are
	neededBy map[string][]unit      // by tag
	without  map[digest.Digest]bool // images that are not complete
}

func newPlanner(o Options, src *source) *planner {
	return &planner{Options: o, src: src, layouts: map[string]*planned{}, incomplete: map[unit]string{}, bundled: bundled{modules: map[string][]release{}}}
}

// plan plans what the options ask for. Errors: ErrUsage, *IncompleteError,
// *SuspendedError; those of the client.
func (p *planner) plan(ctx context.Context) (*Plan, error) {
	var err error
	if len(p.Repositories) > 0 {
		err = p.verbatim(ctx)
	} else {
		err = p.deckhouse(ctx)
	}
	if err != nil {
		return nil, err
	}
	if err := p.each(ctx, len(p.order), func(ctx context.Context, i int) error { return p.attest(ctx, p.order[i]) }); err != nil {
		return nil, err
	}
	if err := p.each(ctx, len(p.order), func(ctx context.Context, i int) error { return p.finish(ctx, p.order[i]) }); err != nil {
		return nil, err
	}
	p.leaveOut()
	p.contradictions()
	if err := p.settle(); err != nil {
		return nil, p.withLost(ctx, err)
	}
	plan, err := p.assemble()
	if err == nil && plan.Images() == 0 && len(plan.Holes) > 0 {
		return nil, incomplete(toPublish(plan.Holes))
	}
	return plan, err
}

// each runs do for 0 to n-1, some at once.
func (p *planner) each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(p.Jobs)
	for i := range n {
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}

// layout is the one at a path of an archive, made at the first call.
func (p *planner) layout(archive, path, repository string) *planned {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := archive + "\x00" + path
	l := p.layouts[key]
	if l == nil {
		l = &planned{Layout: &bundle.Layout{Path: path, Repository: repository}, archive: archive, images: map[string]bundle.Image{}, digests: map[digest.Digest]bool{},
			platform: p.platformOf(path), piece: pieceOf(archive), neededBy: map[string][]unit{}, without: map[digest.Digest]bool{}}
		if len(p.Repositories) > 0 {
			l.piece = repositoryPiece
		}
		p.layouts[key] = l
		p.order = append(p.order, l)
	}
	return l
}

// component begins one of the plan's parts.
func (p *planner) component(name string, archives ...string) *Component {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &Component{Name: name, Archives: archives}
	p.components = append(p.components, c)
	return c
}

// imageOf is the image that is planned for a layout under a tag.
func (p *planner) imageOf(l *planned, tag string) (closure.Descriptor, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := l.images[tag]
	return i.Descriptor, ok
}

// platformOf is the platform of which the layout at a path keeps one image of each index.
// Of a source of Deckhouse only the d8 program and its plugins are for several.
func (p *planner) platformOf(path string) *Platform {
	if p.Platform != nil || len(p.Repositories) > 0 || strings.HasPrefix(path+"/", programPath+"/") {
		return p.Platform
	}
	return &Platform{OS: "linux", Architecture: "amd64"}
}

// add plans the image of a reference, under a tag. One that is not there is a gap. It
// says whether it is there.
func (p *planner) add(ctx context.Context, l *planned, tag, reference string) (bool, error) {
	ok, err := p.addIfThere(ctx, l, tag, reference)
	if err == nil && !ok {
		p.gapOf(l, newGap(l.Repository, reference, "not there"), tag)
	}
	return ok, err
}

// addIfThere plans the image of a reference, under a tag, if there is one.
func (p *planner) addIfThere(ctx context.Context, l *planned, tag, reference string) (bool, error) {
	return p.addNamed(ctx, l, tag, reference, reference)
}

// alias plans an image under another tag of the same repository, if it is there. The
// bundle names it by that tag, as the field's own tool does.
func (p *planner) alias(ctx context.Context, l *planned, tag, reference string) (bool, error) {
	return p.addNamed(ctx, l, tag, reference, tag)
}

// addNamed plans the image of a reference, if there is one, under a tag and a name.
func (p *planner) addNamed(ctx context.Context, l *planned, tag, reference, name string) (bool, error) {
	d, err := p.src.resolve(ctx, l.Repository, reference)
	if absent(err) {
		return false, nil
	}
	var u unusable
	if errors.As(err, &u) || errors.Is(err, client.ErrMismatch) {
		p.gapOf(l, newGap(l.Repository, reference, err.Error()), tag)
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if d, err = p.choose(ctx, l, tag, reference, d); err != nil {
		return false, err
	}
	if d.Digest == "" || l.without[d.Digest] {
		return true, nil // and a gap that says so
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l.images[cmp.Or(tag, d.Digest.String())] = bundle.Image{Tag: tag, Reference: p.src.name(l.Repository, name), Descriptor: d}
	l.digests[d.Digest] = true
	return true, nil
}

// choose is the manifest of the layout's platform where d is an index. Where it has
// none, that is a gap, and the descriptor is zero. An index that is asked for by its
// digest stays whole unless the options say otherwise: clusters ask for that digest too.
func (p *planner) choose(ctx context.Context, l *planned, tag, reference string, d closure.Descriptor) (closure.Descriptor, error) {
	want, repository := l.platform, l.Repository
	if digest.Digest(reference).Validate() == nil {
		want = p.Platform
	}
	if want == nil || d.MediaType != specs.MediaTypeImageIndex && d.MediaType != closure.DockerManifestList {
		return d, nil
	}
	body, err := p.src.body(ctx, repository, d.Digest)
	if err != nil {
		return d, err
	}
	var index specs.Index
	if err := json.Unmarshal(body, &index); err != nil {
		p.gapOf(l, newGap(repository, reference, fmt.Sprintf("not an index: %v", err)), tag)
		return closure.Descriptor{}, nil
	}
	for _, m := range index.Manifests {
		if platform.Same(m.Platform, want.spec()) {
			return p.child(ctx, l, tag, m.Digest)
		}
	}
	if names.IsDigestTag(reference) || !slices.ContainsFunc(index.Manifests, func(m specs.Descriptor) bool { return m.Platform != nil }) {
		return d, nil // an index of something else than platforms
	}
	p.gapOf(l, newGap(repository, reference, fmt.Sprintf("no image for %s in its index", want)), tag)
	return closure.Descriptor{}, nil
}

func (p *planner) child(ctx context.Context, l *planned, tag string, d digest.Digest) (closure.Descriptor, error) {
	c, err := p.src.resolve(ctx, l.Repository, d.String())
	var bad unusable
	switch {
	case absent(err):
		p.gapOf(l, newGap(l.Repository, d.String(), "not there, and its index names it"), tag)
		return closure.Descriptor{}, nil
	case errors.As(err, &bad), errors.Is(err, client.ErrMismatch):
		p.gapOf(l, newGap(l.Repository, d.String(), err.Error()), tag)
		return closure.Descriptor{}, nil
	}
	return c, err
}

// assemble makes a plan of the layouts.
func (p *planner) assemble() (*Plan, error) {
	plan := &Plan{Source: p.Source.String(), Archives: []*bundle.Archive{}, Components: p.components, Files: p.files, Missing: ordered(p.lacking), Holes: []Gap{}}
	if p.allow != nil {
		plan.Holes = append(plan.Holes, p.allow.holes...)
	}
	layouts := map[string][]*bundle.Layout{}
	for _, l := range p.order {
		if len(l.Images) == 0 && !l.always && (len(p.Repositories) == 0 || p.Tag != "") {
			continue // nothing of it was there
		}
		layouts[l.archive] = append(layouts[l.archive], l.Layout)
	}
	byName := map[string]*bundle.Archive{}
	for _, name := range sortedKeys(layouts) {
		a, err := bundle.NewArchive(name, layouts[name])
		if err != nil {
			return nil, err
		}
		byName[name] = a
		if len(p.Repositories) > 0 || a.CountImages() > 0 {
			plan.Archives = append(plan.Archives, a)
		}
	}
	plan.Components = slices.DeleteFunc(p.components, func(c *Component) bool {
		for _, name := range c.Archives {
			if a := byName[name]; a != nil {
				c.Images += a.CountImages()
				c.Bytes += a.Size
			}
		}
		c.Archives = slices.DeleteFunc(c.Archives, func(name string) bool { return byName[name] == nil })
		return len(c.Archives) == 0 && len(c.Notes) == 0
	})
	return plan, nil
}
