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
	Store string `json:"store"`
	// Generation is the generation of the store after the import.
	Generation uint64 `json:"generation"`
	// Changed means that the import published a new generation.
	Changed bool `json:"changed"`
	// Repositories is the number of repositories in the bundles.
	Repositories int   `json:"repositories"`
	Tags         Tags  `json:"tags"`
	Blobs        Blobs `json:"blobs"`
	// Packed are the archives that were kept packed, by their names in the store.
	Packed []string `json:"packed,omitempty"`
	// Copied are files of these archives that were copied into the store, because moving them was unsafe or
	// impossible, each with the reason. They also stay in the bundle.
	Copied []Copied `json:"copied,omitempty"`
	// Problems are the problems of an incomplete bundle, if AllowIncomplete is set. Images that
	// need missing or damaged content were not published.
	Problems []layoutstore.Problem `json:"gaps"`
	// NonDistributable are layers that the bundles do not contain, because their media type allows
	// this. Their images were published. Clients have to get these layers elsewhere.
	NonDistributable []layoutstore.Problem `json:"nonDistributable"`
	// Opened are the files that the import has read. The caller may move or remove only these.
	Opened *fileid.Set `json:"-"`

	repositories []repository // all repositories of the bundles
}

func newReport(store string, generation uint64) Report {
	return Report{Store: store, Generation: generation, Problems: []layoutstore.Problem{}, NonDistributable: []layoutstore.Problem{}}
}

func (r *Report) addTransfer(t *transfer) {
	r.Blobs, r.repositories = t.blobs, t.plan.repositories
	r.Problems = append(r.Problems, t.plan.problems.all...)
	r.NonDistributable = append(r.NonDistributable, t.plan.nonDistributable.all...)
}

// Tags counts the tags of the bundles by what happened to them.
type Tags struct {
	New      int `json:"new"`
	Replaced int `json:"replaced"` // number of tags that had a different digest in the store before
	Same     int `json:"same"`
	LeftOut  int `json:"leftOut"` // number of tags that were left out because content is missing or damaged
}

// Blobs counts blobs, including manifests.
type Blobs struct {
	// Verified is the number of blobs whose digest was verified.
	Verified int `json:"verified"`
	// Bytes is the number of bytes that were read for the verification.
	Bytes    int64 `json:"bytes"`
	Written  int   `json:"written"`
	Linked   int   `json:"linked"` // number of blobs that were linked to a copy in another repository
	Present  int   `json:"present"`
	Repaired int   `json:"repaired"` // number of damaged copies in the store that were replaced
}

// IncompleteError lists missing and damaged content of a bundle. Its problems are in files of the
// bundle, while the problems of pull.IncompleteError are in a registry.
type IncompleteError struct {
	Problems []layoutstore.Problem // lists at most maxProblems problems
}

// maxProblems is the maximum number of problems that are listed.
const maxProblems = 1000

func (e *IncompleteError) Error() string {
	if len(e.Problems) == 1 {
		return "the bundle is incomplete or damaged: " + e.Problems[0].String()
	}
	return fmt.Sprintf("the bundle is incomplete or damaged: %s (and %d more)", e.Problems[0], len(e.Problems)-1)
}

// IsTransient reports whether a later import may succeed. It returns true if some content could not
// be read, but no content is known to be damaged.
func (e *IncompleteError) IsTransient() bool {
	bad := func(p layoutstore.Problem) bool { return !p.Transient && p.Kind != layoutstore.Incomplete }
	return slices.ContainsFunc(e.Problems, func(p layoutstore.Problem) bool { return p.Transient }) && !slices.ContainsFunc(e.Problems, bad)
}

// UnfinishedError reports a publication that was interrupted. The next import completes it.
type UnfinishedError = publish.UnfinishedError

// NoSpaceError reports that a file system has too little free space for an import.
type NoSpaceError struct {
	Store        string
	What         string // unit of the numbers: "bytes" or "files"
	Needed, Free int64
}

func (e *NoSpaceError) Error() string {
	return fmt.Sprintf("not enough free space in the store %s: %d %s needed, %d free", e.Store, e.Needed, e.What, e.Free)
}
