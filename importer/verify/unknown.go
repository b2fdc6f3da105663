package verify

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// unknownTags returns the problems that make tags unknown. Problems of incomplete archives come first. Other
// problems of the same archives are omitted.
func unknownTags(problems []layoutstore.Problem) []layoutstore.Problem {
	var archives, others []layoutstore.Problem
	for _, p := range problems {
		switch {
		case !p.TagsUnknown:
		case isOfArchive(p):
			archives = append(archives, p)
		default:
			others = append(others, p)
		}
	}
	archives = onePerCause(archives)
	for _, p := range others {
		if !slices.ContainsFunc(archives, func(a layoutstore.Problem) bool { return a.Path == p.Path }) {
			archives = append(archives, p)
		}
	}
	return archives
}

// onePerCause removes duplicates from the problems of archives. The scan of the files and the inventory may
// both report a missing chunk. So if one problem of an archive names chunks, the archive's problems that
// name neither a chunk nor an entry are removed.
func onePerCause(archives []layoutstore.Problem) (kept []layoutstore.Problem) {
	namesChunk := func(of layoutstore.Problem) bool {
		return slices.ContainsFunc(archives, func(p layoutstore.Problem) bool { return p.Path == of.Path && len(p.Chunks) > 0 })
	}
	for _, p := range archives {
		known := slices.ContainsFunc(kept, func(k layoutstore.Problem) bool { return k.Path == p.Path && unreadPart(k) == unreadPart(p) })
		if !known && (len(p.Chunks) > 0 || p.Entry != "" || !namesChunk(p)) {
			kept = append(kept, p)
		}
	}
	return kept
}

// writeUnknown writes which archives and indexes have unknown tags, and how many of the other tags are
// complete.
func (r *Report) writeUnknown(w io.Writer) {
	for _, p := range r.unknown[:min(len(r.unknown), maxLines)] {
		fmt.Fprintf(w, "%s: its tags are unknown. ", unreadPart(p))
	}
	if n := len(r.unknown) - maxLines; n > 0 {
		fmt.Fprintf(w, "%s more cannot be read. ", count(n, "place"))
	}
	if r.TagsAffected > 0 {
		complete := r.Tags - (r.TagsAffected - r.illegal)
		fmt.Fprintf(w, "Of %s of %s, %d %s complete", count(r.Tags, "known tag"), count(r.Repositories, "repository"), complete, isOrAre(complete))
		return
	}
	fmt.Fprintf(w, "%s of %s %s complete", count(r.Tags, "tag"), count(r.Repositories, "other repository"), isOrAre(r.Tags))
}

func isOrAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// unreadPart says which archive or index cannot be read and, if known, from where on.
func unreadPart(p layoutstore.Problem) string {
	name := problem.OneLine(filepath.Base(p.Path))
	switch {
	case errors.Is(p.Err, inventory.ErrMissing):
		return name + " is missing"
	case p.Entry != "":
		return fmt.Sprintf("%s: %s cannot be read", name, problem.OneLine(p.Entry))
	case len(p.Chunks) == 1, len(p.Chunks) > 1 && !p.Suspects:
		return fmt.Sprintf("%s cannot be read from %s on", name, p.Chunks[0])
	case len(p.Chunks) > 1:
		return fmt.Sprintf("%s cannot be read to its end, because of %s", name, strings.Join(p.Chunks[:min(len(p.Chunks), maxLines)], " or "))
	case isOfArchive(p) && filepath.Ext(p.Path) == ".tar":
		return name + " cannot be read to its end"
	}
	return problem.OneLine(p.Path) + " cannot be read"
}
