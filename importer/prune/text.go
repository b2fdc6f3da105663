package prune

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// WriteText writes the plan for people.
func (p Plan) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "plan for %s, generation %d\n", p.Store, p.Generation)
	if p.IsEmpty() {
		b.WriteString("nothing goes\n")
	} else {
		b.WriteString("\ngoes:\n")
		writeGroups(&b, p.Remove.Images)
		for _, a := range p.Remove.Archives {
			if a.Rewritten != "" {
				fmt.Fprintf(&b, "  archive %s: written again as %s, without what goes\n", a.File, a.Rewritten)
			} else {
				fmt.Fprintf(&b, "  archive %s: nothing that stays needs it\n", a.File)
			}
		}
	}
	b.WriteString("\nstays:\n")
	writeGroups(&b, p.Keep)
	fmt.Fprintf(&b, "\n%s\n", p.Summary())
	_, err := io.WriteString(w, b.String())
	return err
}

// Summary is the plan in one line.
func (p Plan) Summary() string {
	when := ""
	if p.Grace != "0s" && !p.IsEmpty() {
		when = " after " + strings.TrimSuffix(strings.TrimSuffix(p.Grace, "0s"), "0m")
	}
	return fmt.Sprintf("%s, %s, %s and %s go; %s free%s", english.Plural(p.Remove.Tags, "tag", ""), english.Plural(len(p.Remove.Manifests), "manifest", ""),
		english.Plural(len(p.Remove.Blobs), "blob", ""), english.Plural(len(p.Remove.Archives), "archive", ""), humanize.Bytes(uint64(max(p.Remove.Bytes, 0))), when)
}

// group is images of one repository with one reason, or with reasons of one rule that differ only
// in what they are about.
type group struct {
	repository string
	rule       Rule
	by         string // empty where it differs
}

// groupOf is the group of a decision.
func groupOf(x Decision) group {
	g := group{x.Repository, x.Reason.Rule, x.Reason.By}
	if texts()[g.rule].many != "" {
		g.by = ""
	}
	return g
}

// maxNamed is how many tags of a group are named.
const maxNamed = 8

// writeGroups writes decisions, those of one repository with one reason in one line.
func writeGroups(b *strings.Builder, all []Decision) {
	var order []group
	named, byDigest, reasons := map[group][]string{}, map[group]int{}, map[group]map[string]bool{}
	for _, x := range all {
		g := groupOf(x)
		if reasons[g] == nil {
			reasons[g] = map[string]bool{}
		}
		reasons[g][x.Reason.String()] = true
		if len(named[g]) == 0 && byDigest[g] == 0 {
			order = append(order, g)
		}
		tags := namesOf(x)
		if named[g] = append(named[g], tags...); len(tags) == 0 {
			byDigest[g]++
		}
	}
	for _, g := range order {
		var parts []string
		slices.Sort(named[g])
		if tags := named[g]; len(tags) > maxNamed {
			parts = append(parts, strings.Join(tags[:maxNamed], ", "), english.Plural(len(tags)-maxNamed, "more tag", ""))
		} else if len(tags) > 0 {
			parts = append(parts, strings.Join(tags, ", "))
		}
		if n := byDigest[g]; n > 0 {
			parts = append(parts, english.Plural(n, "image by digest", "images by digest"))
		}
		fmt.Fprintf(b, "  %s: %s: %s\n", g.repository, strings.Join(parts, " and "), reasonOf(g, reasons[g]))
	}
}

// reasonOf is the reason of a group.
func reasonOf(g group, reasons map[string]bool) string {
	if len(reasons) > 1 {
		return texts()[g.rule].many
	}
	for text := range reasons {
		return text
	}
	return ""
}

// shownDigits is how much is shown of the digest in a tag.
const shownDigits = len("sha256-") + 12

// namesOf are the tags of an image that say more than its digest.
func namesOf(x Decision) (tags []string) {
	for _, tag := range x.Tags {
		switch {
		case digest.Digest("sha256:"+tag) == x.Digest:
		case names.IsDigestTag(tag) && len(tag) > shownDigits:
			_, suffix, _ := cutSuffix(tag)
			tags = append(tags, strings.TrimSuffix(tag[:shownDigits]+"…"+"."+suffix, "."))
		default:
			tags = append(tags, tag)
		}
	}
	return tags
}
