package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/pull/deckhouse"
)

// printPullPlan prints what would be pulled: a line of archive, layout, tag and digest for
// each image, and the summary.
func printPullPlan(w io.Writer, plan *pull.Plan) error {
	b := bufio.NewWriter(w)
	for _, a := range plan.Archives {
		for _, l := range a.Layouts {
			for _, i := range l.Images {
				fmt.Fprintf(b, "%s\t%s\t%s\t%s\n", a.Name, l.Path, i.Tag, i.Digest)
			}
		}
	}
	if plan.Images() > 0 {
		fmt.Fprintln(b)
	}
	printComponents(b, plan.Components)
	printMissing(b, plan.Missing)
	blobs, bytes := plan.Blobs()
	var total int64
	for _, a := range plan.Archives {
		total += a.Size
	}
	fmt.Fprintf(b, "%d archives of %s: %d images, %d blobs of %s\n", len(plan.Archives), size(total), plan.Images(), blobs, size(bytes))
	printHoles(b, plan.Holes)
	return b.Flush()
}

// printPulled prints what was pulled.
func printPulled(w io.Writer, r *pull.Report) error {
	b := bufio.NewWriter(w)
	printComponents(b, r.Components)
	printMissing(b, r.Missing)
	fmt.Fprintf(b, "%s: %d written, %d unchanged; %d images, %d blobs of %s, of which %s were fetched\n",
		r.Dir, len(r.Written), len(r.Kept), r.Images, r.Blobs, size(r.Bytes), size(r.Fetched))
	printHoles(b, r.Holes)
	return b.Flush()
}

func countHoles(holes []pull.Gap) string {
	if len(holes) == 1 {
		return "1 hole"
	}
	return fmt.Sprintf("%d holes", len(holes))
}

// printHoles lists what the source should have and the bundle does not, with the component
// that each thing is of.
func printHoles(w io.Writer, holes []pull.Gap) {
	if len(holes) == 0 {
		return
	}
	fmt.Fprintf(w, "%s, missing or wrong in the source and left out:\n", countHoles(holes))
	for _, hole := range holes {
		if hole.Component != "" {
			fmt.Fprintf(w, "  %s: ", hole.Component)
		} else {
			fmt.Fprint(w, "  ")
		}
		fmt.Fprintln(w, hole)
	}
}

// printComponents prints what people know by name, and what was chosen of it.
func printComponents(w io.Writer, components []*pull.Component) {
	for _, c := range components {
		fmt.Fprintf(w, "%s: %d images, %s", c.Name, c.Images, size(c.Bytes))
		if len(c.Versions) > 0 {
			fmt.Fprintf(w, ": %s", strings.Join(c.Versions, ", "))
		}
		fmt.Fprintln(w)
		for _, name := range deckhouse.Channels(c) {
			fmt.Fprintf(w, "  %s is %s\n", name, c.Channels[name])
		}
		for _, note := range c.Notes {
			fmt.Fprintf(w, "  note: %s\n", note)
		}
	}
}

// printMissing lists what the source does not have, and the bundle neither.
func printMissing(w io.Writer, missing []pull.Gap) {
	if len(missing) == 0 {
		return
	}
	noun := "things are"
	if len(missing) == 1 {
		noun = "thing is"
	}
	fmt.Fprintf(w, "%d %s missing in the source, and skipped:\n", len(missing), noun)
	for _, gap := range missing {
		fmt.Fprintf(w, "  %s\n", gap)
	}
}

func size(n int64) string { return humanize.Bytes(uint64(max(0, n))) }
