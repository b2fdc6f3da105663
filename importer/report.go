package importer

import (
	"fmt"
	"slices"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/fileid"
)

// Report is what an import did.
type Report struct {
	Store        string `json:"store"`
	Generation   uint64 `json:"generation"`   // of the store, after it
	Changed      bool   `json:"changed"`      // whether the generation is a new one
	Repositories int    `json:"repositories"` // that the bundles hold
	Tags         Tags   `json:"tags"`
	Blobs        Blobs  `json:"blobs"`
	// Packed are the archives that were taken in as they are, by their names in the store.
	Packed []string `json:"packed,omitempty"`
	// Copied are files of these that were copied and stay where they were, as a link would
	// have left the store with a file that is not its own.
	Copied []Copied `json:"copied,omitempty"`
	// Gaps are what the bundles lack, where that is allowed. What needs it was not published.
	Gaps []layoutstore.Problem `json:"gaps"`
	// NonDistributable are layers that the bundles lack and may lack, by their media type:
	// the images were published, and clients have to get these layers elsewhere.
	NonDistributable []layoutstore.Problem `json:"nonDistributable"`
	// Opened are the files that the import read. Only these may be moved or removed after it.
	Opened *fileid.Set `json:"-"`

	repositories []repository // of the bundles
}

// Tags counts the tags of the bundles by what became of them.
type Tags struct {
	New      int `json:"new"`
	Replaced int `json:"replaced"` // the store had another digest
	Same     int `json:"same"`
	LeftOut  int `json:"leftOut"` // for a gap
}

// Blobs counts blobs, manifests among them.
type Blobs struct {
	Verified int   `json:"verified"` // digests that were computed
	Bytes    int64 `json:"bytes"`    // that were read for it
	Written  int   `json:"written"`
	Linked   int   `json:"linked"` // to a copy in another repository
	Present  int   `json:"present"`
	Repaired int   `json:"repaired"` // that the store had wrong
}

// GapError says that a bundle is not whole: it lacks something that it names, or has
// it wrong.
type GapError struct {
	Gaps []layoutstore.Problem // at most maxGaps
}

// maxGaps is how many gaps are told one by one.
const maxGaps = 1000

func (e *GapError) Error() string {
	if len(e.Gaps) == 1 {
		return "the bundle is not whole: " + e.Gaps[0].String()
	}
	return fmt.Sprintf("the bundle is not whole: %s (and %d more)", e.Gaps[0], len(e.Gaps)-1)
}

// Passing says whether something could not be read and nothing is known to be bad: the
// same bundle may be whole later.
func (e *GapError) Passing() bool {
	bad := func(p layoutstore.Problem) bool { return !p.Transient && p.Kind != layoutstore.Incomplete }
	return slices.ContainsFunc(e.Gaps, func(p layoutstore.Problem) bool { return p.Transient }) && !slices.ContainsFunc(e.Gaps, bad)
}

// NoSpaceError says that a file system has no room for an import.
type NoSpaceError struct {
	Store        string
	What         string // "bytes" or "files"
	Needed, Free int64
}

func (e *NoSpaceError) Error() string {
	return fmt.Sprintf("no room in the store %s: %d %s needed, %d free", e.Store, e.Needed, e.What, e.Free)
}
