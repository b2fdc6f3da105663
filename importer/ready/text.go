package ready

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
)

// maxLines is the maximum number of reasons per version in the text. The JSON output has all reasons.
const maxLines = 500

// WriteText writes the verdict as text for people: each version with its reasons, the reasons for every
// version, the modules, the release channels with a detail, the notes, and a summary.
func (v Verdict) WriteText(w io.Writer) error {
	b := bufio.NewWriter(w)
	if !v.Deckhouse && len(v.Versions) == 0 {
		fmt.Fprintln(b, "no image declares which other images it needs: this is not a bundle of Deckhouse")
		writeReasons(b, v.Hidden)
		return b.Flush()
	}
	shared := map[string]bool{}
	for _, r := range v.Hidden {
		shared[r.String()] = true
	}
	for _, m := range v.Modules {
		for _, r := range m.Reasons {
			shared[r.String()] = true
		}
	}
	for _, x := range v.Versions {
		x.write(b, shared)
	}
	if len(v.Versions) == 0 {
		fmt.Fprintln(b, "there is no version of the platform")
	}
	if len(v.Hidden) > 0 {
		fmt.Fprintln(b, "every version:")
		writeReasons(b, v.Hidden)
	}
	for _, m := range v.Modules {
		m.write(b)
	}
	for _, c := range v.Channels {
		if c.Detail != "" {
			fmt.Fprintf(b, "release channel %s: %s\n", c.Channel, c.Detail)
		}
	}
	for _, n := range v.Notes {
		fmt.Fprintf(b, "note: %s\n", n)
	}
	fmt.Fprintf(b, "%s; %s\n", count(v.ExpectedDigests, "distinct declared digest"), v.Summary())
	return b.Flush()
}

// Summary says in one line which requested versions are ready and which are not.
func (v Verdict) Summary() string {
	var good, bad []string
	for _, x := range v.Versions {
		switch {
		case !x.Asked:
		case x.Ready:
			good = append(good, x.Version)
		default:
			bad = append(bad, x.Version)
		}
	}
	var parts []string
	if len(good) > 0 {
		parts = append(parts, "ready: "+strings.Join(good, ", "))
	}
	if len(bad) > 0 {
		parts = append(parts, "not ready: "+strings.Join(bad, ", "))
	}
	if len(parts) > 0 {
		return strings.Join(parts, "; ")
	}
	switch {
	case v.Ready:
		return "no version was requested"
	case len(v.Versions) > 0:
		return "not ready: every version is older than that of the cluster"
	}
	return "not ready"
}

func (x VersionVerdict) write(w io.Writer, shared map[string]bool) {
	state := "not ready"
	switch {
	case x.Ready && x.Asked:
		state = "ready"
	case x.Ready:
		state = "complete"
	case !x.Asked:
		state = "not complete"
	}
	fmt.Fprintf(w, "%s: %s", x.Version, state)
	if x.DeclaredImages > 0 {
		fmt.Fprintf(w, ": %s", count(x.DeclaredImages, "declared image"))
		if x.Bytes > 0 {
			fmt.Fprintf(w, ", %s", humanize.Bytes(uint64(x.Bytes)))
		}
	}
	fmt.Fprintln(w)
	own := slices.DeleteFunc(slices.Clone(x.Reasons), func(r Reason) bool { return shared[r.String()] })
	writeReasons(w, own)
	if n := len(x.Reasons) - len(own); n > 0 {
		fmt.Fprintf(w, "  %s for every version, listed below\n", count(n, "reason"))
	}
	for _, n := range x.Notes {
		fmt.Fprintf(w, "  note: %s\n", n)
	}
	if len(x.Requirements) > 0 {
		fmt.Fprintf(w, "  the cluster needs: %s\n", strings.Join(x.Requirements, ", "))
	}
}

func writeReasons(w io.Writer, all []Reason) {
	for _, r := range all[:min(len(all), maxLines)] {
		fmt.Fprintf(w, "  %s\n", r)
	}
	if n := len(all) - maxLines; n > 0 {
		fmt.Fprintf(w, "  and %d more: use --output json to see all\n", n)
	}
}

func (m ModuleVerdict) write(w io.Writer) {
	state := "complete"
	if !m.Ready {
		state = "not complete"
	}
	fmt.Fprintf(w, "module %s: %s", m.Name, state)
	if len(m.Versions) > 0 {
		fmt.Fprintf(w, ": %s", strings.Join(m.Versions, ", "))
	}
	var channels []string
	for _, name := range slices.Sorted(maps.Keys(m.Channels)) {
		channels = append(channels, name+" "+m.Channels[name])
	}
	if len(channels) > 0 {
		fmt.Fprintf(w, " (%s)", strings.Join(channels, ", "))
	}
	fmt.Fprintln(w)
	writeReasons(w, m.Reasons)
	for _, n := range m.Notes {
		fmt.Fprintf(w, "  note: %s\n", n)
	}
}

func count(n int, noun string) string { return fmt.Sprint(n, " ", english.PluralWord(n, noun, "")) }
