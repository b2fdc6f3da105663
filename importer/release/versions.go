package release

import (
	"cmp"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// Release is a tag that is a version, such as v1.69.3 or 1.69.3.
type Release struct {
	Tag     string
	Version *semver.Version
}

// Parse parses a tag as a version. It returns false unless the version has all three numbers.
func Parse(tag string) (Release, bool) {
	v, err := semver.StrictNewVersion(strings.TrimPrefix(tag, "v"))
	return Release{tag, v}, err == nil
}

// SameVersion reports whether two tags are equal or are spellings of the same version.
func SameVersion(a, b string) bool {
	x, ok := Parse(a)
	y, also := Parse(b)
	return a == b || ok && also && x.Version.Equal(y.Version)
}

// ParseAll returns the tags that are versions, in ascending order. If a version has two spellings, it returns
// only the one with "v".
func ParseAll(tags []string) (all []Release) {
	for _, tag := range tags {
		if r, ok := Parse(tag); ok {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b Release) int {
		return cmp.Or(a.Version.Compare(b.Version), strings.Compare(b.Tag, a.Tag)) // descending order, so that the spelling with "v" comes first
	})
	return slices.CompactFunc(all, func(a, b Release) bool { return a.Version.Equal(b.Version) })
}

// Stable returns the tags that are versions but not previews, in ascending order.
func Stable(tags []string) []Release {
	return slices.DeleteFunc(ParseAll(tags), func(r Release) bool { return r.Version.Prerelease() != "" })
}

// HighestPatches returns the highest patch of each minor version. The versions in all must be in
// ascending order.
func HighestPatches(all []Release) (kept []Release) {
	for i, r := range all {
		if i+1 < len(all) && all[i+1].Version.Major() == r.Version.Major() && all[i+1].Version.Minor() == r.Version.Minor() {
			continue
		}
		kept = append(kept, r)
	}
	return kept
}

// SortTags sorts tags, and removes duplicates. Tags that are not versions come first, then the versions in
// ascending order.
func SortTags(tags []string) []string {
	versions := ParseAll(tags)
	others := slices.DeleteFunc(slices.Clone(tags), func(tag string) bool { _, ok := Parse(tag); return ok })
	slices.Sort(others)
	for _, r := range versions {
		others = append(others, r.Tag)
	}
	return slices.Compact(others)
}

// Tags returns the tags of versions as text for messages, or "none" if there are none.
func Tags(all []Release) string {
	var tags []string
	for _, r := range all {
		tags = append(tags, r.Tag)
	}
	return cmp.Or(strings.Join(tags, ", "), "none")
}
