package release

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// Constraint selects versions by ranges, or one exact tag.
type Constraint struct {
	Text   string
	Ranges []Range // ranges, one of which must match; empty for an exact tag

	Tag string // exact tag; empty for ranges

	Channel string // release channel that shall point to the tag; empty means all channels

	named []*semver.Version // versions after >= or <= in the text, which Choose also selects
}

// Range is one range of a constraint. In the text, ranges are separated by ||.
type Range struct {
	Versions *semver.Constraints
	Lowest   *semver.Version // lowest version at which the range can start; nil if unknown
}

// Matches reports whether at least one range contains a version.
func (c *Constraint) Matches(v *semver.Version) bool {
	return slices.ContainsFunc(c.Ranges, func(r Range) bool { return r.Versions.Check(v) })
}

// HasStart reports whether the lowest version of each range is known, so that versions can be tried upwards
// from it.
func (c *Constraint) HasStart() bool {
	return !slices.ContainsFunc(c.Ranges, func(r Range) bool { return r.Lowest == nil })
}

// literal matches a version in a constraint, with the operator before it.
var literal = regexp.MustCompile(`([<>=~^!]*)\s*v?(\d+(?:\.\d+){0,2}(?:-[0-9A-Za-z.-]+)?)`)

// ParseConstraint parses semver ranges (~, ^, >=, <= and so on), =TAG or =TAG+CHANNEL. A version without an
// operator means this version or a later one with the same major number.
func ParseConstraint(text string) (*Constraint, error) {
	text = strings.TrimSpace(text)
	c := &Constraint{Text: text}
	if tag, ok := strings.CutPrefix(text, "="); ok {
		tag, channel, both := strings.Cut(strings.TrimSpace(tag), "+")
		if !names.IsTag(tag) || both && !slices.Contains(Channels(), channel) {
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

// parseRange parses one range of a constraint. It adds the versions after >= and <= to named.
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

// addLiterals adds the versions after >= and <= in a range to named. It returns the lowest version at which
// the range can start, or nil.
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

// Choose selects tags that match the ranges: the highest patch of each minor version, and each version that
// the constraint names after >= or <=. The constraint must not be an exact tag.
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
