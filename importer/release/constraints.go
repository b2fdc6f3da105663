package release

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// Constraint selects versions: by ranges, or one exact tag.
type Constraint struct {
	Text   string
	Ranges []Range // alternatives, separated by || in the text; empty for an exact tag

	Tag     string // the exact tag
	Channel string // the release channel that is to point to the tag; empty means all

	named []*semver.Version // versions after >= or <=, selected in addition to the highest patches
}

// Range is one of the ranges of a constraint.
type Range struct {
	Versions *semver.Constraints
	Lowest   *semver.Version // the lowest version in the text at which the range can start, or nil
}

// Matches reports whether a version is in one of the ranges.
func (c *Constraint) Matches(v *semver.Version) bool {
	return slices.ContainsFunc(c.Ranges, func(r Range) bool { return r.Versions.Check(v) })
}

// HasStart reports whether each range has a lowest version, from which versions can be tried
// upwards.
func (c *Constraint) HasStart() bool {
	return !slices.ContainsFunc(c.Ranges, func(r Range) bool { return r.Lowest == nil })
}

// literal finds the versions in a constraint, each with the operator before it.
var literal = regexp.MustCompile(`([<>=~^!]*)\s*v?(\d+(?:\.\d+){0,2}(?:-[0-9A-Za-z.-]+)?)`)

// ParseConstraint parses a semver range (~, ^, >=, <= and so on), a bare version, =TAG or
// =TAG+CHANNEL. A bare version means this version or a later one with the same major number.
func ParseConstraint(text string) (*Constraint, error) {
	text = strings.TrimSpace(text)
	c := &Constraint{Text: text}
	if tag, ok := strings.CutPrefix(text, "="); ok {
		tag, channel, both := strings.Cut(strings.TrimSpace(tag), "+")
		if tag == "" || both && !slices.Contains(Channels(), channel) {
			return nil, fmt.Errorf("version %q: want =TAG or =TAG+CHANNEL, where CHANNEL is one of %s", text, strings.Join(Channels(), ", "))
		}
		c.Tag, c.Channel = tag, channel
		return c, nil
	}
	if text == "" {
		return nil, malformedVersion(text)
	}
	for _, piece := range strings.Split(text, "||") {
		r, err := c.parseRange(strings.TrimSpace(piece))
		if err != nil {
			return nil, malformedVersion(text)
		}
		c.Ranges = append(c.Ranges, r)
	}
	return c, nil
}

func malformedVersion(text string) error {
	return fmt.Errorf("version %q: want a range such as 1.3.0, ~1.3.0, ^1.3.0 or >=1.3.0 <=1.5.0, or a tag such as =v1.3.0", text)
}

// parseRange parses one range of a constraint, and adds the versions in it to named.
func (c *Constraint) parseRange(text string) (r Range, err error) {
	expression := text
	if v, err := semver.NewVersion(text); err == nil {
		expression = fmt.Sprintf(">=%s <%d.0.0", v, v.Major()+1)
		r.Lowest = v
	}
	if r.Versions, err = semver.NewConstraint(expression); err != nil {
		return r, err
	}
	if r.Lowest == nil {
		r.Lowest = c.addLiterals(text)
	}
	return r, nil
}

// addLiterals adds the versions in a range to named, and returns the lowest one at which the range
// can start.
func (c *Constraint) addLiterals(text string) (lowest *semver.Version) {
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
		if m[1] != "<=" && m[1] != "<" && m[1] != "!=" && (lowest == nil || v.LessThan(lowest)) {
			lowest = v
		}
	}
	return lowest
}

// Choose selects from tags the highest patch of each minor version that matches, and the
// versions that the constraint names with >= or <=. The constraint must not be an exact tag.
func (c *Constraint) Choose(tags []string) (chosen []string) {
	var fit []Release
	for _, r := range ParseAll(tags) {
		if c.Matches(r.Version) {
			fit = append(fit, r)
		}
	}
	highest := HighestPatches(fit)
	for _, r := range fit {
		named := slices.ContainsFunc(c.named, r.Version.Equal)
		if named || slices.ContainsFunc(highest, func(h Release) bool { return h.Tag == r.Tag }) {
			chosen = append(chosen, r.Tag)
		}
	}
	return chosen
}
