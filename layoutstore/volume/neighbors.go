package volume

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// betweenNeighbors returns the problem of a blob that is missing although the chain of headers is
// intact. A cut that removes only complete entries does not break the chain. d8 packs blobs in the
// order of their digests, so the blob belongs between its two neighbors by digest. A chunk that
// ends between them may be cut short, and the problem names it. If there is no such chunk, the blob
// was never in the archive, and ok is false.
func (a *Archive) betweenNeighbors(l *tarLayout, d digest.Digest) (p problem.Problem, ok bool) {
	sum, plain := names.SHA256Sum(d)
	if a.set.seams == nil || !plain {
		return p, false
	}
	i, _ := slices.BinarySearchFunc(l.blobs, sum, compareSums)
	after := l.index
	if i < len(l.blobs) {
		after = l.blobs[i].tarEntry
	}
	from := after.headerAt() - layoutMarker
	if i > 0 {
		from = l.blobs[i-1].headerAt() + 1
	}
	// The range includes both neighbors' headers: a cut from inside one to inside the other leaves one header.
	r := a.set.seams.between(from, after.off)
	if r.isEmpty() || r.to-r.from >= maxNamed { // many chunks mean that the blobs are in a different order
		return p, false
	}
	reason := problem.Missing + ", perhaps because " + r.describe("cut short")
	return a.set.seams.lostBlob(problem.Incomplete, reason, r.names()), true
}

// layoutMarker is the maximum length in bytes of the entry before the first blob of a layout. That
// is the file oci-layout of the previous layout, with a long name.
const layoutMarker = 2048

func (e tarEntry) headerAt() int64 { return e.off - int64(e.header) }
