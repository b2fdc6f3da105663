package pull

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
)

// gap notes a gap of a piece of a component.
func (p *planner) gap(as piece, component, repository, reference, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := newGap(repository, reference, reason)
	g.piece, g.Component = as, component
	p.gaps = append(p.gaps, g)
}

// gapOf is a gap of a layout, of what it has under the tags. One that may be left out is
// left out then.
func (p *planner) gapOf(l *planned, g Gap, tags ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g.piece = l.piece
	for _, c := range p.components {
		if slices.Contains(c.Archives, l.archive) {
			g.Component = c.Name
		}
	}
	if l.optional {
		l.faults = append(l.faults, g)
		return
	}
	p.gaps = append(p.gaps, g)
	for _, tag := range tags {
		for _, u := range l.neededBy[tag] {
			p.incomplete[u] = g.Reason
		}
	}
}

// need says that a unit needs what a layout has under a tag.
func (p *planner) need(l *planned, tag string, u unit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.neededBy[tag] = append(l.neededBy[tag], u)
}

// pieceOf is what the layouts of an archive are pieces of.
func pieceOf(archive string) piece {
	switch {
	case archive == platformArchive:
		return buildPiece
	case strings.HasPrefix(archive, "module-"), strings.HasPrefix(archive, "package-"):
		return memberPiece
	}
	return sharedPiece
}

// withLost adds to an error about gaps the blobs of the rest that the source does not have:
// a pull that ends before it fetches lists them too. It asks for them and fetches none.
func (p *planner) withLost(ctx context.Context, err error) error {
	var gaps *IncompleteError
	if !errors.As(err, &gaps) || p.src.work == nil {
		return err
	}
	repositories, blobs := map[digest.Digest][]string{}, []closure.Descriptor{}
	for _, l := range p.order {
		for _, b := range l.Blobs {
			if repositories[b.Digest] == nil && !l.optional {
				blobs = append(blobs, b)
			}
			repositories[b.Digest] = append(repositories[b.Digest], l.Repository)
		}
	}
	lost := make([][]Gap, len(blobs))
	if err := p.each(ctx, len(blobs), func(ctx context.Context, i int) (err error) {
		lost[i], err = p.lostBlob(ctx, blobs[i], repositories[blobs[i].Digest])
		return err
	}); err != nil {
		return gaps // what the source does not say is not listed
	}
	return incomplete(slices.Concat(gaps.Gaps, slices.Concat(lost...)))
}

// lostBlob is the gap of a blob that is neither here nor in any of the repositories.
func (p *planner) lostBlob(ctx context.Context, b closure.Descriptor, repositories []string) ([]Gap, error) {
	where, _ := p.src.reusable.Find(repositories[0], b.Digest, b.Size)
	if where != nil || p.src.work.has(b.Digest, b.Size) {
		return nil, nil
	}
	for _, repository := range repositories {
		if _, err := p.src.registry.HeadBlob(ctx, repository, b.Digest); !absent(err) {
			return nil, err
		}
	}
	return []Gap{{Repository: repositories[0], Digest: b.Digest, Reason: "not there", lost: true}}, nil
}

// lack notes something that the source does not have, and a pull can do without.
func (p *planner) lack(repository, reference, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lacking = append(p.lacking, newGap(repository, reference, reason))
}

// newGap is the gap of a tag or digest.
func newGap(repository, reference, reason string) Gap {
	if d := digest.Digest(reference); d.Validate() == nil {
		return Gap{Repository: repository, Digest: d, Reason: reason}
	}
	return Gap{Repository: repository, Tag: reference, Reason: reason}
}

// leaveOut empties the layouts that a pull can do without and that are not all there.
func (p *planner) leaveOut() {
	for _, l := range p.order {
		if len(l.faults) > 0 {
			l.Images, l.Blobs = nil, nil
			p.lacking = append(p.lacking, l.faults...)
		}
	}
}

// contradictions finds blobs whose sizes two layouts see differently. One is wrong at
// least, and an archive would not come out as it was planned.
func (p *planner) contradictions() {
	sizes := map[digest.Digest]int64{}
	for _, l := range p.order {
		for _, b := range l.Blobs {
			if size, ok := sizes[b.Digest]; ok && size != b.Size {
				p.gap(contradictionPiece, "", l.Repository, b.Digest.String(), fmt.Sprintf("it has %d bytes by a manifest of this repository, and %d by one of another", b.Size, size))
			}
			sizes[b.Digest] = b.Size
		}
	}
}
