package importer

import (
	"fmt"
	"slices"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/fileid"
)

// Report describes what an import did.
type Report struct {
	Store        string `json:"store"`
	Generation   uint64 `json:"generation"`   // of the store after the import
	Changed      bool   `json:"changed"`      // the import published a new generation
	Repositories int    `json:"repositories"` // in the bundles
	Tags         Tags   `json:"tags"`
	Blobs        Blobs  `json:"blobs"`
	// Packed are the archives that were kept packed, by their names in the store.
	Packed []string `json:"packed,omitempty"`
	// Copied are files of these archives that were copied and stay in place, because a hard link
	// would not make the store their only owner.
	Copied []Copied `json:"copied,omitempty"`
	// Problems are the problems of an incomplete bundle, if that is allowed. Images that need
	// missing or damaged content were not published.
	Problems []layoutstore.Problem `json:"gaps"`
	// NonDistributable are layers that the bundles omit, as their media type allows. Their images
	// were published, and clients have to get these layers elsewhere.
	NonDistributable []layoutstore.Problem `json:"nonDistributable"`
	// Opened are the files that the import read. Only these may be moved or removed afterwards.
	Opened *fileid.Set `json:"-"`

	repositories []repository // of the bundles
}

func newReport(store string, generation uint64) Report {
	return Report{Store: store, Generation: generation, Problems: []layoutstore.Problem{}, NonDistributable: []layoutstore.Problem{}}
}

// addTransfer adds the results of a transfer and of its plan.
func (r *Report) addTransfer(t *transfer) {
	r.Blobs, r.repositories = t.blobs, t.plan.repositories
	r.Problems = append(r.Problems, t.plan.problems.all...)
	r.NonDistributable = append(r.NonDistributable, t.plan.nonDistributable.all...)
}

// Tags counts the tags of the bundles by their outcome.
type Tags struct {
	New      int `json:"new"`
	Replaced int `json:"replaced"` // the store had another digest
	Same     int `json:"same"`
	LeftOut  int `json:"leftOut"` // because content is missing or damaged
}

// Blobs counts blobs, including manifests.
type Blobs struct {
	Verified int   `json:"verified"` // digests computed
	Bytes    int64 `json:"bytes"`    // read for that
	Written  int   `json:"written"`
	Linked   int   `json:"linked"` // to a copy in another repository
	Present  int   `json:"present"`
	Repaired int   `json:"repaired"` // damaged copies replaced in the store
}

// IncompleteError reports a bundle with missing or damaged content. Its problems are in files of
// the bundle; those of pull.IncompleteError are in a registry.
type IncompleteError struct {
	Problems []layoutstore.Problem // at most maxProblems
}

// maxProblems limits the problems that are listed.
const maxProblems = 1000

func (e *IncompleteError) Error() string {
	if len(e.Problems) == 1 {
		return "the bundle is incomplete or damaged: " + e.Problems[0].String()
	}
	return fmt.Sprintf("the bundle is incomplete or damaged: %s (and %d more)", e.Problems[0], len(e.Problems)-1)
}

// IsTransient reports whether a later import may succeed: some content could not be read, and no
// content is known to be damaged.
func (e *IncompleteError) IsTransient() bool {
	bad := func(p layoutstore.Problem) bool { return !p.Transient && p.Kind != layoutstore.Incomplete }
	return slices.ContainsFunc(e.Problems, func(p layoutstore.Problem) bool { return p.Transient }) && !slices.ContainsFunc(e.Problems, bad)
}

// UnfinishedError reports a publication that stopped half way. The next import completes it.
type UnfinishedError = publish.UnfinishedError

// NoSpaceError reports that a file system has too little free space for an import.
type NoSpaceError struct {
	Store        string
	What         string // "bytes" or "files"
	Needed, Free int64
}

func (e *NoSpaceError) Error() string {
	return fmt.Sprintf("not enough free space in the store %s: %d %s needed, %d free", e.Store, e.Needed, e.What, e.Free)
}
