package prune

import (
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// WriteText writes the plan as text for people.
func (p Plan) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "plan for %s, generation %d\n", p.Store, p.Generation)
	if p.IsEmpty() {
		b.WriteString("nothing to remove\n")
	} else {
		b.WriteString("\nremove:\n")
		writeGroups(&b, p.Remove.Images)
		for _, a := range p.Remove.Archives {
			if a.Rewritten != "" {
				fmt.Fprintf(&b, "  archive %s: rewritten as %s, without the removed images\n", a.File, a.Rewritten)
			} else {
				fmt.Fprintf(&b, "  archive %s: nothing in it is needed any more\n", a.File)
			}
		}
	}
	b.WriteString("\nkeep:\n")
	writeGroups(&b, p.Keep)
	fmt.Fprintf(&b, "\n%s\n", p.Summary())
	_, err := io.WriteString(w, b.String())
	return err
}

// Summary summarizes the plan in one line.
func (p Plan) Summary() string {
	when := ""
	if p.Grace != "0s" && !p.IsEmpty() {
		when = " after " + strings.NewReplacer("h0m0s", "h", "m0s", "m").Replace(p.Grace)
	}
	return fmt.Sprintf("remove %s, %s, %s and %s; %s free%s", english.Plural(p.Remove.Tags, "tag", ""), english.Plural(len(p.Remove.Manifests), "manifest", ""),
		english.Plural(len(p.Remove.Blobs), "blob", ""), english.Plural(len(p.Remove.Archives), "archive", ""), sizeText(p.Remove.Bytes), when)
}

func sizeText(bytes int64) string { return humanize.Bytes(uint64(max(bytes, 0))) }

// group identifies images of one repository that are kept or removed by the same rule. They share one line of
// text.
type group struct {
	repository string
	rule       Rule
	by         string // detail of the rule; empty if it differs between the images
}

const maxNamed = 8

func writeGroups(b *strings.Builder, all []Decision) {
	var order []group
	named, byDigest, reasons := map[group][]string{}, map[group]int{}, map[group]string{}
	for _, x := range all {
		g := group{x.Repository, x.Reason.Rule, x.Reason.By}
		many := texts()[g.rule].many
		if many != "" {
			g.by = ""
		}
		switch reason := x.Reason.String(); reasons[g] {
		case reason:
		case "":
			order, reasons[g] = append(order, g), reason
		default:
			reasons[g] = many
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
		fmt.Fprintf(b, "  %s: %s: %s\n", g.repository, strings.Join(parts, " and "), reasons[g])
	}
}

// shownDigits is how many characters of a tag with a digest are shown.
const shownDigits = len("sha256-") + 12

// namesOf returns the tags of an image. It omits a tag that is the image's own digest, and shortens tags with
// other digests.
func namesOf(x Decision) (tags []string) {
	for _, tag := range x.Tags {
		switch {
		case digest.Digest("sha256:"+tag) == x.Digest:
		case names.IsDigestTag(tag) && len(tag) > shownDigits:
			tags = append(tags, tag[:shownDigits]+"…"+path.Ext(tag))
		default:
			tags = append(tags, tag)
		}
	}
	return tags
}
