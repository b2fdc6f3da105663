package verify

import (
	"cmp"
	"path/filepath"
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
	TagsAffected int  `json:"tagsAffected"` // that a gap keeps from being whole
	// TagsUnknown are the indexes and archives that may hold tags which nobody can
	// name, as they cannot be read. They are in neither of the two numbers.
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
	NonDistributable []layoutstore.Gap `json:"nonDistributable"`
}

// newReport is a report of nothing: its lists are empty, where JSON would have null.
func newReport() *Report {
	return &Report{
		TagsUnknown: []string{}, Causes: []Cause{}, Checksums: []*Checksum{}, Conflicts: []layoutstore.Problem{},
		Harmless: []layoutstore.Problem{}, Unreferenced: []Unreferenced{}, NonDistributable: []layoutstore.Gap{},
	}
}

// Cause is one thing that is wrong, with all gaps that come of it.
type Cause struct {
	Kind         layoutstore.Kind  `json:"kind"`
	Path         string            `json:"path"` // of an archive or of a layout's directory
	Reason       string            `json:"reason"`
	Tags         int               `json:"tags"`         // that its gaps keep from being whole
	Repositories int               `json:"repositories"` // of these tags
	Gaps         []layoutstore.Gap `json:"gaps"`
}

// Unreferenced is a blob that nothing leads to.
type Unreferenced struct {
	Path   string        `json:"path"` // of the file, or of the archive
	Entry  string        `json:"entry"`
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"` // bytes
}

func compareGaps(a, b layoutstore.Gap) int {
	return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Entry, b.Entry), cmp.Compare(a.Repository, b.Repository),
		slices.Compare(a.Tags, b.Tags), cmp.Compare(a.Digest, b.Digest), cmp.Compare(a.Reason, b.Reason))
}

// tag is a tag of a repository.
type tag struct{ repository, tag string }

// group makes causes of gaps, and of the problems that the scan of the tree found.
func (r *Report) group(gaps []layoutstore.Gap, problems []layoutstore.Problem) {
	g := grouping{causes: map[causeKey]*Cause{}, troubles: map[string]string{}}
	for _, p := range problems {
		if p.TagsUnknown {
			r.TagsUnknown = append(r.TagsUnknown, strings.TrimSuffix(p.Path+": "+p.Entry, ": "))
		}
		switch {
		case p.Kind == layoutstore.Conflict:
			r.Conflicts = append(r.Conflicts, p)
		case !p.IsFailure():
			r.Harmless = append(r.Harmless, p)
		case p.Kind == layoutstore.Incomplete && p.Entry == "" && p.Repository == "":
			g.troubles[p.Path] = p.Reason // an archive's, as a rule
			g.cause(p.Kind, p.Path, p.Reason)
		case p.Digest == "" && slices.ContainsFunc(gaps, func(g layoutstore.Gap) bool { return g.Path == p.Path && g.Entry == p.Entry && g.Reason == p.Reason }):
			// Whoever needs the entry is listed with the same.
		default:
			gaps = append(gaps, gapOf(p))
		}
	}
	slices.SortFunc(gaps, compareGaps)
	affected := map[tag]bool{}
	for _, gap := range gaps {
		g.add(gap)
		for _, t := range gap.Tags {
			affected[tag{gap.Repository, t}] = true
		}
	}
	r.TagsAffected = len(affected)
	r.Causes = g.sorted()
	r.Whole = len(r.Causes) == 0 && !slices.ContainsFunc(r.Checksums, (*Checksum).bad)
	if r.Repositories == 0 && r.Whole {
		r.Whole = false
		r.Causes = append(r.Causes, Cause{Kind: layoutstore.Incomplete, Reason: "no repositories in the sources: nothing was verified", Gaps: []layoutstore.Gap{}})
	}
}

// gapOf is a problem of the scan as a gap.
func gapOf(p layoutstore.Problem) layoutstore.Gap {
	g := layoutstore.Gap{Kind: p.Kind, Path: p.Path, Entry: p.Entry, Chunks: []string{}, Repository: p.Repository,
		Tags: []string{}, Digest: p.Digest, Reason: p.Reason}
	if p.Tag != "" {
		g.Tags = append(g.Tags, p.Tag)
	}
	return g
}

type causeKey struct {
	kind         layoutstore.Kind
	path, reason string
}

type grouping struct {
	causes   map[causeKey]*Cause
	troubles map[string]string // why an archive is not whole, by its path
}

func (g grouping) cause(kind layoutstore.Kind, path, reason string) *Cause {
	key := causeKey{kind, path, reason}
	c := g.causes[key]
	if c == nil {
		c = &Cause{Kind: kind, Path: path, Reason: reason, Gaps: []layoutstore.Gap{}}
		g.causes[key] = c
	}
	return c
}

// add puts a gap where its cause is: what is missing in an archive that is not whole
// is missing for that.
func (g grouping) add(gap layoutstore.Gap) {
	path, reason := container(gap), gap.Reason
	if trouble, ok := g.troubles[path]; ok && gap.Kind == layoutstore.Incomplete {
		reason = trouble
	}
	c := g.cause(gap.Kind, path, reason)
	c.Gaps = append(c.Gaps, gap)
}

// container is what a gap's content lies in: an archive or a layout's directory.
func container(gap layoutstore.Gap) string {
	if up := filepath.Dir(filepath.Dir(gap.Path)); gap.Entry == "" && gap.Digest != "" &&
		filepath.Base(gap.Path) == gap.Digest.Encoded() && filepath.Base(up) == "blobs" {
		return filepath.Dir(up)
	}
	return gap.Path
}

func (g grouping) sorted() []Cause {
	all := make([]Cause, 0, len(g.causes))
	for _, c := range g.causes {
		tags, repositories := map[tag]bool{}, map[string]bool{}
		for _, gap := range c.Gaps {
			for _, t := range gap.Tags {
				tags[tag{gap.Repository, t}] = true
				repositories[gap.Repository] = true
			}
		}
		c.Tags, c.Repositories = len(tags), len(repositories)
		all = append(all, *c)
	}
	slices.SortFunc(all, func(a, b Cause) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Reason, b.Reason))
	})
	return all
}
