package verify

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// maxLines is the maximum number of lines per list in text output. JSON has more entries.
const maxLines = 20

// WriteText writes the report as text for people. First come the causes with their affected tags, and the
// checksums. Then come problems and lists that are no failures, and last the totals.
func (r *Report) WriteText(w io.Writer) error {
	b := bufio.NewWriter(w)
	for _, c := range r.Causes {
		c.write(b)
	}
	if n := r.Omitted.Problems; n > 0 {
		fmt.Fprintf(b, "and %s more, not listed: fix these first, and verify again\n", count(n, "problem"))
	}
	r.writeChecksums(b)
	writeProblems(b, r.Conflicts, "conflict", "; the later source wins")
	writeProblems(b, r.Harmless, "problem", ", with no content lost")
	r.writeUnreferenced(b)
	r.writeNonDistributable(b)
	switch {
	case r.Whole:
		fmt.Fprintf(b, "complete: %s of %s", count(r.Tags, "tag"), count(r.Repositories, "repository"))
	case len(r.unknown) > 0:
		fmt.Fprint(b, "incomplete or damaged: ")
		r.writeUnknown(b)
	case r.Tags == 0:
		fmt.Fprint(b, "incomplete or damaged: there are no known tags")
	default:
		fmt.Fprintf(b, "incomplete or damaged: %d of %s of %s", r.TagsAffected, count(r.Tags, "tag"), count(r.Repositories, "repository"))
	}
	fmt.Fprintf(b, "; %s, %s read\n", count(r.Files, "file"), humanize.Bytes(uint64(r.Bytes)))
	return b.Flush()
}

func (c Cause) write(w io.Writer) {
	fmt.Fprintf(w, "%s: ", c.Kind)
	if c.Path != "" {
		fmt.Fprintf(w, "%s: ", problem.OneLine(c.Path))
	}
	fmt.Fprint(w, problem.OneLine(c.Reason))
	if c.Tags > 0 {
		fmt.Fprintf(w, ": %s of %s", count(c.Tags, "tag"), count(c.Repositories, "repository"))
	}
	fmt.Fprintln(w)
	writeList(w, c.Problems, c.Count-len(c.Problems), func(p layoutstore.Problem) string { return describe(c, p) })
}

// writeProblems writes a list of problems. The heading is their number with a noun and a remark.
func writeProblems(w io.Writer, problems []layoutstore.Problem, noun, remark string) {
	if len(problems) == 0 {
		return
	}
	fmt.Fprintf(w, "%s%s:\n", count(len(problems), noun), remark)
	writeList(w, problems, 0, layoutstore.Problem.String)
}

// writeList writes the first entries of a list, one per line, without empty lines. Then it writes
// how many more entries there are, and how many entries the JSON output lists. omitted is the
// number of entries that are not in the list.
func writeList[T any](w io.Writer, list []T, omitted int, line func(T) string) {
	listed := len(list)
	for _, x := range list[:min(listed, maxLines)] {
		if text := line(x); text != "" {
			fmt.Fprintf(w, "  %s\n", text)
		}
	}
	rest := listed + omitted - min(listed, maxLines)
	switch {
	case rest == 0:
	case omitted == 0:
		fmt.Fprintf(w, "  and %d more: --output json has all\n", rest)
	default:
		fmt.Fprintf(w, "  and %d more: --output json lists only the first %d of all %d\n", rest, listed, listed+omitted)
	}
}

// describe returns a problem as one line of text. It omits the parts that the line of the cause already has.
func describe(c Cause, p layoutstore.Problem) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if p.Repository != "" {
		add("%s", problem.OneLine(p.Repository))
	}
	if len(p.Tags) > 0 {
		add("%s", p.TagNames())
	} else if p.Digest != "" {
		add("no tag")
	}
	switch {
	case p.Entry != "" && len(p.Chunks) > 0:
		add("%s in %s", problem.OneLine(p.Entry), strings.Join(p.Chunks, " and "))
	case p.Entry != "":
		add("%s", problem.OneLine(p.Entry))
	case p.Path != c.Path:
		add("%s", problem.OneLine(p.Path))
	}
	if p.MediaType != "" {
		add("%s", problem.OneLine(p.MediaType))
	}
	if p.Reason != c.Reason {
		add("%s", problem.OneLine(p.Reason))
	}
	return strings.Join(parts, ": ")
}

func (r *Report) writeChecksums(w io.Writer) {
	same := 0
	for _, c := range r.Checksums {
		if c.State == Same {
			same++
		} else if !c.listed { // a file in the inventory is already among the causes
			fmt.Fprintf(w, "checksum %s: %s: %s\n", c.State, problem.OneLine(c.File), problem.OneLine(c.Reason))
		}
	}
	if same > 0 {
		verb := "agree"
		if same == 1 {
			verb = "agrees"
		}
		fmt.Fprintf(w, "%s beside the archives %s\n", count(same, "checksum"), verb)
	}
}

func (r *Report) writeUnreferenced(w io.Writer) {
	n := len(r.Unreferenced)
	if n == 0 {
		return
	}
	size := uint64(r.Omitted.UnreferencedBytes)
	for _, u := range r.Unreferenced {
		size += uint64(u.Size)
	}
	fmt.Fprintf(w, "%s unreferenced, %s:\n", count(n+r.Omitted.Unreferenced, "blob"), humanize.Bytes(size))
	writeList(w, r.Unreferenced, r.Omitted.Unreferenced, func(u Unreferenced) string { return problem.OneLine(strings.TrimSuffix(u.Path+": "+u.Entry, ": ")) })
}

// writeNonDistributable lists the missing non-distributable layers, which are no failure.
func (r *Report) writeNonDistributable(w io.Writer) {
	n := len(r.NonDistributable)
	if n == 0 {
		return
	}
	fmt.Fprintf(w, "%s missing, as their media type allows; clients must fetch them elsewhere:\n", count(n+r.Omitted.NonDistributable, "non-distributable layer"))
	writeList(w, r.NonDistributable, r.Omitted.NonDistributable, func(p layoutstore.Problem) string {
		return fmt.Sprintf("%s: %s: %s", p.Repository, strings.Join(p.Tags, ", "), p.Digest)
	})
}

func count(n int, noun string) string {
	return fmt.Sprintf("%d %s", n, english.PluralWord(n, noun, ""))
}
