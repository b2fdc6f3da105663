package volume

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// betweenNeighbors says which chunks may be cut short if the blob d of a layout is missing
// although the chain of headers is intact: a cut that removes exactly some entries breaks
// no chain. Blobs are packed in the order of their digests (the depth-first order of d8).
// So the blob would be between its two neighbors by digest, and a chunk that was cut there
// ends there. ok is false if no chunk does: then the blob was never in the archive.
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
	// A cut from the header of one entry to that of another leaves one header of both.
	r := a.set.seams.between(from, after.off)
	if r.isEmpty() || r.to-r.from >= maxNamed { // many if the blobs have another order
		return p, false
	}
	reason := problem.Missing + ", perhaps because " + r.describe("cut short")
	return lostBlob(problem.Incomplete, reason, r.names()), true
}

// layoutMarker is the length in bytes of the entry before the first blob of a layout: the
// file oci-layout of another layout, with a long name.
const layoutMarker = 2048

// headerAt returns where the header of an entry begins.
func (e tarEntry) headerAt() int64 { return e.off - int64(e.header) }
