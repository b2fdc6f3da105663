package verify

import (
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// Report is the result of a run.
type Report struct {
	// Whole reports whether everything is complete, intact and legal. Conflicts, unreferenced blobs and
	// checksums of missing files do not matter.
	Whole        bool `json:"whole"`
	Repositories int  `json:"repositories"`
	Tags         int  `json:"tags"`
	TagsAffected int  `json:"tagsAffected"` // incomplete or damaged because of a problem
	// TagsUnknown are the indexes and archives that cannot be read, so that their tags are
	// unknown and counted in neither number.
	TagsUnknown []string              `json:"tagsUnknown"`
	unknown     []layoutstore.Problem // the problems behind TagsUnknown
	// illegal is how many of TagsAffected are illegal tags, which are not counted in Tags.
	illegal   int
	Files     int                   `json:"files"`     // read: files and entries of archives
	Bytes     int64                 `json:"bytes"`     // read
	Causes    []Cause               `json:"causes"`    // by place
	Checksums []*Checksum           `json:"checksums"` // by file
	Conflicts []layoutstore.Problem `json:"conflicts"`
	// Harmless are problems that lose no content, such as bytes after the end of an archive.
	Harmless     []layoutstore.Problem `json:"harmless"`
	Unreferenced []Unreferenced        `json:"unreferenced"`
	// NonDistributable are missing layers that may be omitted by their media type.
	NonDistributable []layoutstore.Problem `json:"nonDistributable"`
	// Omitted counts the entries that are not listed: each list, and the problems of all causes
	// together, have at most 1,000 entries. All other numbers include omitted entries.
	Omitted Omitted `json:"omitted"`
}

// Omitted counts the entries that a report does not list.
type Omitted struct {
	Problems          int   `json:"gaps"`
	Unreferenced      int   `json:"unreferenced"`
	UnreferencedBytes int64 `json:"unreferencedBytes"`
	NonDistributable  int   `json:"nonDistributable"`
}

// newReport returns an empty report. Its lists are not nil, so that JSON has [] instead of
// null.
func newReport() *Report {
	return &Report{
		TagsUnknown: []string{}, Causes: []Cause{}, Checksums: []*Checksum{}, Conflicts: []layoutstore.Problem{},
		Harmless: []layoutstore.Problem{}, Unreferenced: []Unreferenced{}, NonDistributable: []layoutstore.Problem{},
	}
}

// Cause is the common cause of some problems.
type Cause struct {
	Kind         layoutstore.Kind      `json:"kind"`
	Path         string                `json:"path"` // of an archive or of a layout's directory
	Reason       string                `json:"reason"`
	Tags         int                   `json:"tags"`         // affected by its problems
	Repositories int                   `json:"repositories"` // that have these tags
	Count        int                   `json:"count"`        // of its problems, including omitted ones
	Problems     []layoutstore.Problem `json:"gaps"`         // the first of them
}

// Unreferenced is a blob that no manifest or index refers to.
type Unreferenced struct {
	Path   string        `json:"path"` // of the file, or of the archive
	Entry  string        `json:"entry"`
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"` // bytes
}

// finish adds the causes, and the problems from the scan of the tree, to the report.
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
	r.Whole = len(r.Causes) == 0 && !slices.ContainsFunc(r.Checksums, func(c *Checksum) bool { return c.State == Different || c.State == Illegible })
	if r.Repositories == 0 && r.Whole {
		r.Whole = false
		r.Causes = append(r.Causes, Cause{Kind: layoutstore.Incomplete, Reason: "no repositories in the sources: nothing was verified", Problems: []layoutstore.Problem{}})
	}
}
