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
	parts []part            // the ranges that || separates

	tag     string // exactly
	channel string // that is to point at the tag; empty is all
}

// part is one of the ranges of a constraint.
type part struct {
	some  *semver.Constraints
	lower *semver.Version // the lowest that the text names; nil if it names none
}

// hasStart reports whether versions can be tried from a lowest one on, in each range.
func (c *constraint) hasStart() bool {
	return !slices.ContainsFunc(c.parts, func(p part) bool { return p.lower == nil })
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
	if text == "" {
		return nil, badVersion(text)
	}
	var expressions []string
	for _, piece := range strings.Split(text, "||") {
		p, expression, err := parseRange(strings.TrimSpace(piece), c)
		if err != nil {
			return nil, badVersion(text)
		}
		c.parts = append(c.parts, p)
		expressions = append(expressions, expression)
	}
	var err error
	if c.some, err = semver.NewConstraint(strings.Join(expressions, " || ")); err != nil {
		return nil, badVersion(text)
	}
	return c, nil
}

func badVersion(text string) error {
	return usage("version %q: a range of versions as 1.3.0, ~1.3.0, ^1.3.0, >=1.3.0 <=1.5.0, or a tag as =v1.3.0", text)
}

// parseRange reads one range of a constraint, and notes in c the versions that it names.
func parseRange(text string, c *constraint) (p part, expression string, err error) {
	expression = text
	if v, err := semver.NewVersion(text); err == nil {
		expression = fmt.Sprintf(">=%s <%d.0.0", v, v.Major()+1)
		p.lower = v
	}
	if p.some, err = semver.NewConstraint(expression); err != nil {
		return p, "", err
	}
	if p.lower == nil {
		p.lower = c.literals(text)
	}
	return p, expression, nil
}

// literals notes the versions that a range names, and returns the lowest from which on
// it holds.
func (c *constraint) literals(text string) (lower *semver.Version) {
	for _, m := range literal.FindAllStringSubmatch(text, -1) {
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
		if m[1] != "<=" && m[1] != "<" && m[1] != "!=" && (lower == nil || v.LessThan(lower)) {
			lower = v
		}
	}
	return lower
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
