package pull

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
)

// piece is what a gap is a gap of.
type piece string

// The pieces that a pull is made of.
const (
	memberPiece        piece = "module or package"                      // its versions, channels, internal and extra images
	buildPiece         piece = "version of the platform"                // what it consists of
	channelPiece       piece = "release channel of the platform"        //
	sharedPiece        piece = "installer, database, program or plugin" // that nobody has asked for by name
	repositoryPiece    piece = "image of a repository"                  // that is pulled as it is
	askedPiece         piece = "what the command line names"            //
	contradictionPiece piece = "manifests that contradict each other"   //
	publishedPiece     piece = "content of an archive that was written" //
)

// tolerates decides whether a bundle can be published without a piece of it, where that is
// allowed, and says why.
func tolerates(p piece) (ok bool, reason string) {
	switch p {
	case memberPiece:
		return true, "the other modules and packages do not need it"
	case buildPiece:
		return true, "the version is left out, and the others do not need it"
	case sharedPiece:
		return true, "a bundle can be used without it"
	case repositoryPiece:
		return true, "the other images do not need it"
	case channelPiece:
		return false, "the release channels of the platform say which versions belong to the bundle"
	case askedPiece:
		return false, "it was asked for by name"
	case contradictionPiece:
		return false, "one of them is wrong, and which is not known"
	}
	return false, "it was to be published"
}

// unit is what is pulled wholly or not at all: a version of the platform, of a module or
// of a package.
type unit struct{ component, version string }

// allowance is what a pull that may be incomplete has found out: it is planned again
// without what is not complete. A nil allowance allows nothing.
type allowance struct {
	lost  map[digest.Digest]string // blobs that cannot be had, and why
	skip  map[unit]string          // units that are not complete, and why
	holes []Gap
}

func newAllowance(o *Options) *allowance {
	if !o.AllowIncomplete {
		return nil
	}
	return &allowance{lost: map[digest.Digest]string{}, skip: map[unit]string{}}
}

// errIncompleteUnits says that a plan has units that are not complete.
var errIncompleteUnits = errors.New("planned with versions that are not complete")

// plan plans, and again without the units that turn out to be incomplete.
func (a *allowance) plan(ctx context.Context, o Options, src *source) (*Plan, error) {
	for {
		p := newPlanner(o, src)
		p.allow = a
		plan, err := p.plan(ctx)
		if !errors.Is(err, errIncompleteUnits) {
			return plan, err
		}
	}
}

// learn takes note of the blobs that an error is about. It says whether a pull without them
// is to be tried.
func (a *allowance) learn(err error) bool {
	var gaps *IncompleteError
	if a == nil || !errors.As(err, &gaps) {
		return false
	}
	before := len(a.lost)
	for _, g := range gaps.Gaps {
		if !g.lost {
			return false
		}
		a.lost[g.Digest] = g.Reason
	}
	return len(a.lost) > before
}

// skips reports whether a unit is to be left out.
func (p *planner) skips(component, version string) bool {
	if p.allow == nil {
		return false
	}
	_, ok := p.allow.skip[unit{component, version}]
	return ok
}

// complete are the versions of a component that are not to be left out.
func (p *planner) complete(component string, versions []string) []string {
	return slices.DeleteFunc(slices.Clone(versions), func(v string) bool { return p.skips(component, v) })
}

// settle decides about the gaps of a plan: nil where it can be pulled, with what is allowed
// to be missing as its holes. Errors: *IncompleteError; errIncompleteUnits where the plan
// is to be made again.
func (p *planner) settle() error {
	if p.allow == nil {
		return incomplete(p.gaps)
	}
	refused := false
	for i, g := range p.gaps {
		if ok, why := tolerates(g.piece); !ok {
			refused = true
			p.gaps[i].Reason += ": a pull cannot do without it: " + why
		}
	}
	p.allow.holes = distinct(append(p.allow.holes, p.gaps...))
	if refused {
		return incomplete(p.allow.holes)
	}
	before := len(p.allow.skip)
	for u, why := range p.incomplete {
		p.allow.skip[u] = why
	}
	if len(p.allow.skip) > before {
		return errIncompleteUnits
	}
	return nil
}

// toPublish are gaps of a pull of which nothing is left.
func toPublish(holes []Gap) []Gap {
	holes = slices.Clone(holes)
	for i := range holes {
		holes[i].piece = publishedPiece
	}
	return holes
}

// distinct sorts gaps, each thing once, whatever the reasons are that it is named for.
func distinct(gaps []Gap) []Gap {
	all := ordered(gaps)
	slices.SortStableFunc(all, func(a, b Gap) int { return strings.Compare(a.Component, b.Component) })
	return slices.CompactFunc(all, func(a, b Gap) bool {
		return a.Component == b.Component && a.Repository == b.Repository && a.Tag == b.Tag && a.Digest == b.Digest
	})
}

// absorb notes what an error says of content, as gaps of a piece of a component, and of a
// version of it if that is not empty. Any other error is returned.
func (p *planner) absorb(err error, as piece, component, version string) error {
	var gaps *IncompleteError
	if !errors.As(err, &gaps) {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range gaps.Gaps {
		if g.piece == "" {
			g.piece, g.Component = as, cmp.Or(g.Component, component)
		}
		p.gaps = append(p.gaps, g)
	}
	if version != "" {
		p.incomplete[unit{component, version}] = gaps.Gaps[0].Reason
	}
	return nil
}

// drop takes broken images out of a layout, by their digests and the reasons, and leaves of
// the others what it was planned with.
func (p *planner) drop(l *planned, base map[string]bundle.Image, broken map[digest.Digest]string) {
	for _, key := range sortedKeys(l.images) {
		i := l.images[key]
		if why, ok := broken[i.Digest]; ok {
			p.gapOf(l, Gap{Repository: l.Repository, Tag: i.Tag, Digest: i.Digest, Reason: why}, i.Tag)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for d := range broken {
		l.without[d] = true
	}
	l.images, l.digests = map[string]bundle.Image{}, map[digest.Digest]bool{}
	l.Images, l.Blobs, l.companions = nil, nil, 0
	for key, i := range base {
		if !l.without[i.Digest] {
			l.images[key] = i
			l.digests[i.Digest] = true
		}
	}
}

// because names what is wrong in an image, unless that is the image itself.
func because(image, wrong digest.Digest, reason string) string {
	if image == wrong {
		return reason
	}
	return fmt.Sprintf("%s in it: %s", wrong, reason)
}
