package pull

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// release is a tag that is a version: v1.69.3, or without the letter.
type release struct {
	tag     string
	version *semver.Version
}

// parseRelease reads a tag as a version, which has all three numbers.
func parseRelease(tag string) (release, bool) {
	v, err := semver.StrictNewVersion(strings.TrimPrefix(tag, "v"))
	return release{tag, v}, err == nil
}

// releases are the versions among tags, rising. Of two spellings of one the one with
// the letter stays.
func releases(tags []string) (all []release) {
	for _, tag := range tags {
		if r, ok := parseRelease(tag); ok {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b release) int {
		if c := a.version.Compare(b.version); c != 0 {
			return c
		}
		return strings.Compare(b.tag, a.tag) // "v" is behind the digits
	})
	return slices.CompactFunc(all, func(a, b release) bool { return a.version.Equal(b.version) })
}

// highestPatches keeps the highest patch of each minor version; all has to rise.
func highestPatches(all []release) (kept []release) {
	for i, r := range all {
		if i+1 < len(all) && all[i+1].version.Major() == r.version.Major() && all[i+1].version.Minor() == r.version.Minor() {
			continue
		}
		kept = append(kept, r)
	}
	return kept
}

// constraint says which versions of something are wanted: some, or one tag.
type constraint struct {
	text string
	some *semver.Constraints // nil where it is one tag

	named []*semver.Version // by >= or <=: kept beside the highest patches
	lower *semver.Version   // the lowest that the text names

	tag     string // exactly
	channel string // that is to point at the tag; empty is all
}

// literal finds the versions in a constraint, each with the operator before it.
var literal = regexp.MustCompile(`([<>=~^!]*)\s*v?(\d+(?:\.\d+){0,2}(?:-[0-9A-Za-z.-]+)?)`)

// parseConstraint reads a semver range (~, ^, >= and <= and so on), a bare version,
// which stands for its major line from there on, or =TAG or =TAG+CHANNEL. Errors:
// ErrUsage.
func parseConstraint(text string) (*constraint, error) {
	text = strings.TrimSpace(text)
	c := &constraint{text: text}
	if tag, ok := strings.CutPrefix(text, "="); ok {
		tag, channel, both := strings.Cut(strings.TrimSpace(tag), "+")
		if tag == "" || both && !slices.Contains(allChannels(), channel) {
			return nil, usage("version %q: =TAG or =TAG+CHANNEL, where CHANNEL is one of %s", text, strings.Join(allChannels(), ", "))
		}
		c.tag, c.channel = tag, channel
		return c, nil
	}
	expression := text
	if v, err := semver.NewVersion(text); err == nil {
		expression = fmt.Sprintf(">=%s <%d.0.0", v, v.Major()+1)
		c.lower = v
	}
	some, err := semver.NewConstraint(expression)
	if err != nil || text == "" {
		return nil, usage("version %q: a range of versions as 1.3.0, ~1.3.0, ^1.3.0, >=1.3.0 <=1.5.0, or a tag as =v1.3.0", text)
	}
	c.some = some
	if c.lower == nil {
		c.literals()
	}
	return c, nil
}

// literals notes the versions that the text names.
func (c *constraint) literals() {
	for _, m := range literal.FindAllStringSubmatch(c.text, -1) {
		v, err := semver.NewVersion(m[2])
		if err != nil {
			continue
		}
		if m[1] == ">=" || m[1] == "<=" {
			c.named = append(c.named, v)
		}
		if m[1] == ">" {
			*v = v.IncPatch()
		}
		if m[1] != "<=" && m[1] != "<" && m[1] != "!=" && (c.lower == nil || v.LessThan(c.lower)) {
			c.lower = v
		}
	}
}

// choose are the tags that are wanted: of each minor version the highest patch, and
// the versions that the constraint names with >= or <=, where they are there.
func (c *constraint) choose(tags []string) (chosen []string) {
	var fit []release
	for _, r := range releases(tags) {
		if c.some.Check(r.version) {
			fit = append(fit, r)
		}
	}
	highest := highestPatches(fit)
	for _, r := range fit {
		named := slices.ContainsFunc(c.named, r.version.Equal)
		if named || slices.ContainsFunc(highest, func(h release) bool { return h.tag == r.tag }) {
			chosen = append(chosen, r.tag)
		}
	}
	return chosen
}
