package verify

import (
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// Report is what a run found.
type Report struct {
	// Whole is set where nothing is missing, wrong or illegal. Conflicts, blobs that
	// nothing needs and checksums of files that are not here leave it set.
	Whole        bool `json:"whole"`
	Repositories int  `json:"repositories"`
	Tags         int  `json:"tags"`
	TagsAffected int  `json:"tagsAffected"` // that a problem keeps from being complete
	// TagsUnknown are the indexes and archives that may hold tags which nobody can
	// name, as they cannot be read. They are in neither of the two numbers.
	unknown     []layoutstore.Problem // the problems behind TagsUnknown
	TagsUnknown []string              `json:"tagsUnknown"`
	Files       int                   `json:"files"`     // read: files and entries of archives
	Bytes       int64                 `json:"bytes"`     // read
	Causes      []Cause               `json:"causes"`    // by place
	Checksums   []*Checksum           `json:"checksums"` // by file
	Conflicts   []layoutstore.Problem `json:"conflicts"`
	// Harmless are problems for which nothing is missing, as bytes behind an archive's
	// end. They leave Whole set.
	Harmless     []layoutstore.Problem `json:"harmless"`
	Unreferenced []Unreferenced        `json:"unreferenced"`
	// NonDistributable are layers that are not there and need not be, by their media type.
	NonDistributable []layoutstore.Problem `json:"nonDistributable"`
	// Omitted is how much the lists leave out: of each the first 1,000 entries are listed,
	// and of the problems of all causes together. All other numbers count everything.
	Omitted Omitted `json:"omitted"`
}

// Omitted counts what is not listed in a report.
type Omitted struct {
	Problems          int   `json:"gaps"`
	Unreferenced      int   `json:"unreferenced"`
	UnreferencedBytes int64 `json:"unreferencedBytes"`
	NonDistributable  int   `json:"nonDistributable"`
}

// newReport is a report of nothing: its lists are empty, where JSON would have null.
func newReport() *Report {
	return &Report{
		TagsUnknown: []string{}, Causes: []Cause{}, Checksums: []*Checksum{}, Conflicts: []layoutstore.Problem{},
		Harmless: []layoutstore.Problem{}, Unreferenced: []Unreferenced{}, NonDistributable: []layoutstore.Problem{},
	}
}

// Cause is one thing that is wrong, with the problems that come of it.
type Cause struct {
	Kind         layoutstore.Kind      `json:"kind"`
	Path         string                `json:"path"` // of an archive or of a layout's directory
	Reason       string                `json:"reason"`
	Tags         int                   `json:"tags"`         // that its problems keep from being complete
	Repositories int                   `json:"repositories"` // of these tags
	Count        int                   `json:"count"`        // of its problems, listed or not
	Problems     []layoutstore.Problem `json:"gaps"`         // the first of them
}

// Unreferenced is a blob that nothing leads to.
type Unreferenced struct {
	Path   string        `json:"path"` // of the file, or of the archive
	Entry  string        `json:"entry"`
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"` // bytes
}

// finish adds what was found to the report, and what the scan of the tree found.
func (r *Report) finish(f *causes, problems []layoutstore.Problem) {
	r.unknown = unknownTags(problems)
	for _, p := range problems {
		if p.TagsUnknown {
			r.TagsUnknown = append(r.TagsUnknown, strings.TrimSuffix(p.Path+": "+p.Entry, ": "))
		}
		switch {
		case p.Kind == layoutstore.Conflict:
			r.Conflicts = append(r.Conflicts, p)
		case !p.IsFailure():
			r.Harmless = append(r.Harmless, p)
		}
	}
	f.report(r)
	r.Whole = len(r.Causes) == 0 && !slices.ContainsFunc(r.Checksums, (*Checksum).bad)
	if r.Repositories == 0 && r.Whole {
		r.Whole = false
		r.Causes = append(r.Causes, Cause{Kind: layoutstore.Incomplete, Reason: "no repositories in the sources: nothing was verified", Problems: []layoutstore.Problem{}})
	}
}
