package verify

import (
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// Report is the result of [Run].
type Report struct {
	// Whole is set if there are no causes, and no checksum is different or illegible. Conflicts,
	// unreferenced blobs and checksums of missing files do not matter.
	Whole        bool `json:"whole"`
	Repositories int  `json:"repositories"`
	Tags         int  `json:"tags"`
	TagsAffected int  `json:"tagsAffected"` // number of tags that are incomplete or damaged

	// TagsUnknown lists the indexes and archives that cannot be read. Their tags are unknown, so neither Tags
	// nor TagsAffected includes them.
	TagsUnknown []string              `json:"tagsUnknown"`
	unknown     []layoutstore.Problem // problems that cause TagsUnknown

	// illegal is the number of illegal tags. TagsAffected includes them, but Tags does not.
	illegal int
	Files   int `json:"files"` // number of files and archive entries that were read

	Bytes int64 `json:"bytes"` // total size of the files and archive entries that were read, in bytes

	Causes []Cause `json:"causes"` // sorted by path

	Checksums []*Checksum           `json:"checksums"` // sorted by checksum file
	Conflicts []layoutstore.Problem `json:"conflicts"`
	// Harmless lists problems that affect no content, such as bytes after the end of an archive.
	Harmless     []layoutstore.Problem `json:"harmless"`
	Unreferenced []Unreferenced        `json:"unreferenced"`
	// NonDistributable lists missing layers that a bundle may omit because of their media type.
	NonDistributable []layoutstore.Problem `json:"nonDistributable"`
	// Omitted counts the entries that are not listed. Unreferenced and NonDistributable each have at most
	// 1,000 entries, and all causes together 1,000 problems. All other numbers include omitted entries.
	Omitted Omitted `json:"omitted"`
}

// Omitted counts the entries that a report does not list, per list.
type Omitted struct {
	Problems          int   `json:"gaps"`
	Unreferenced      int   `json:"unreferenced"`
	UnreferencedBytes int64 `json:"unreferencedBytes"`
	NonDistributable  int   `json:"nonDistributable"`
}

// newReport returns an empty report. Its lists are not nil, so that JSON has [] and not null.
func newReport() *Report {
	return &Report{
		TagsUnknown: []string{}, Causes: []Cause{}, Checksums: []*Checksum{}, Conflicts: []layoutstore.Problem{},
		Harmless: []layoutstore.Problem{}, Unreferenced: []Unreferenced{}, NonDistributable: []layoutstore.Problem{},
	}
}

// Cause is a common cause of problems. Tags and Repositories count the affected tags and
// repositories. Count includes the problems that Problems omits.
type Cause struct {
	Kind         layoutstore.Kind      `json:"kind"`
	Path         string                `json:"path"` // path of an archive or of a layout's directory
	Reason       string                `json:"reason"`
	Tags         int                   `json:"tags"`
	Repositories int                   `json:"repositories"`
	Count        int                   `json:"count"`
	Problems     []layoutstore.Problem `json:"gaps"`
}

// Unreferenced is a blob to which neither a manifest nor an index refers.
type Unreferenced struct {
	Path   string        `json:"path"` // path of the blob's file, or of its archive
	Entry  string        `json:"entry"`
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"` // bytes
}

// finish completes the report with the causes and the problems that the scan of the tree has found.
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
