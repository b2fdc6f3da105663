package prune

import (
	"fmt"
	"io"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
	"github.com/opencontainers/go-digest"
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

// group is images of one repository with one reason.
type group struct {
	repository string
	reason     string
}

// maxNamed is how many tags of a group are named.
const maxNamed = 8

// writeGroups writes decisions, those of one repository with one reason in one line.
func writeGroups(b *strings.Builder, all []Decision) {
	var order []group
	named, byDigest := map[group][]string{}, map[group]int{}
	for _, x := range all {
		g := group{x.Repository, x.Reason.String()}
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
		if tags := named[g]; len(tags) > maxNamed {
			parts = append(parts, strings.Join(tags[:maxNamed], ", "), english.Plural(len(tags)-maxNamed, "more tag", ""))
		} else if len(tags) > 0 {
			parts = append(parts, strings.Join(tags, ", "))
		}
		if n := byDigest[g]; n > 0 {
			parts = append(parts, english.Plural(n, "image by digest", "images by digest"))
		}
		fmt.Fprintf(b, "  %s: %s: %s\n", g.repository, strings.Join(parts, " and "), g.reason)
	}
}

// namesOf are the tags of an image that say more than its digest.
func namesOf(x Decision) (tags []string) {
	for _, tag := range x.Tags {
		if digest.Digest("sha256:"+tag) != x.Digest {
			tags = append(tags, tag)
		}
	}
	return tags
}
