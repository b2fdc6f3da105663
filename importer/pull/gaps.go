package pull

import (
	"fmt"

	"github.com/opencontainers/go-digest"
)

func (p *planner) gap(repository, reference, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gaps = append(p.gaps, newGap(repository, reference, reason))
}

// gapOf is a gap of a layout. One that may be left out is left out then.
func (p *planner) gapOf(l *planned, g Gap) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.optional {
		l.faults = append(l.faults, g)
	} else {
		p.gaps = append(p.gaps, g)
	}
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
			l.Images, l.blobs = nil, nil
			p.lacking = append(p.lacking, l.faults...)
		}
	}
}

// contradictions finds blobs whose sizes two layouts see differently. One is wrong at
// least, and an archive would not come out as it was planned.
func (p *planner) contradictions() {
	sizes := map[digest.Digest]int64{}
	for _, l := range p.order {
		for _, b := range l.blobs {
			if size, ok := sizes[b.Digest]; ok && size != b.Size {
				p.gap(l.Repository, b.Digest.String(), fmt.Sprintf("it has %d bytes by a manifest of this repository, and %d by one of another", b.Size, size))
			}
			sizes[b.Digest] = b.Size
		}
	}
}
