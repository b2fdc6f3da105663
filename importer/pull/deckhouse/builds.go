package deckhouse

import (
	"fmt"
	"slices"

	"github.com/Masterminds/semver/v3"

	"github.com/layoutproxy/layoutproxy/importer/release"
)

// builds lists the builds and release channels of the platform to pull.
type builds struct {
	tags     []string
	channels []release.Channel
	// pin is the tag or channel that the user names, if only one build is pulled. In the bundle,
	// the default channels then point at the release-channel image of pin, if this image exists.
	pin string
	// aliases are tags of the install image: the key is a channel, the value is the version's tag.
	aliases map[string]string
	// notes say why channels are left out.
	notes []string
}

// findSpan returns the lowest and the highest version to pull, or nil for an unknown version. The highest is
// the version of alpha. The lowest is the version of rock-solid. If the parameter since is higher, or the
// version of rock-solid is unknown, the lowest is since.
func findSpan(channels []release.Channel, since *semver.Version) (lowest, highest *semver.Version) {
	lowest, highest = versionOf(channels, release.RockSolid), versionOf(channels, release.Alpha)
	if since != nil && (lowest == nil || since.GreaterThan(lowest)) {
		lowest = since
	}
	return lowest, highest
}

// versionOf returns the version that a channel points at, or nil if there is none.
func versionOf(channels []release.Channel, name string) *semver.Version {
	i := slices.IndexFunc(channels, func(c release.Channel) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return channels[i].Release.Version
}

// chooseBuilds chooses the highest patch of each minor version between lowest and highest. It also
// chooses the version that each channel points at, unless this version is below lowest. The result
// is sorted.
func chooseBuilds(channels []release.Channel, tags []string, lowest, highest *semver.Version) (b builds) {
	for _, ch := range channels {
		if isBelow(ch, lowest) {
			b.notes = append(b.notes, fmt.Sprintf("release channel %s points at %s, which is below %s", ch.Name, ch.Tag, lowest))
			continue
		}
		b.channels = append(b.channels, ch)
		b.tags = append(b.tags, ch.Tag)
	}
	if lowest != nil && highest != nil {
		between := slices.DeleteFunc(release.Stable(tags), func(r release.Release) bool {
			return r.Version.LessThan(lowest) || r.Version.GreaterThan(highest)
		})
		for _, r := range release.HighestPatches(between) {
			b.tags = append(b.tags, r.Tag)
		}
	}
	b.tags, b.aliases = release.SortTags(b.tags), installAliases(b.channels, channels)
	return b
}

// chooseInRange chooses the channels that point at a version within a constraint. It adds these
// versions to tags, which the constraint has already selected.
func chooseInRange(channels []release.Channel, tags []string, constraint *release.Constraint) (b builds) {
	b.tags = slices.Clone(tags)
	for _, ch := range channels {
		if ch.Release.Version == nil || !constraint.Matches(ch.Release.Version) {
			b.notes = append(b.notes, fmt.Sprintf("release channel %s points at %s, which is not pulled", ch.Name, ch.Tag))
			continue
		}
		b.channels = append(b.channels, ch)
		b.tags = append(b.tags, ch.Tag)
	}
	b.tags, b.aliases = release.SortTags(b.tags), installAliases(b.channels, channels)
	return b
}

// isBelow reports whether a channel points at a version below lowest. It returns false if one of
// the versions is unknown.
func isBelow(c release.Channel, lowest *semver.Version) bool {
	return lowest != nil && c.Release.Version != nil && c.Release.Version.LessThan(lowest)
}

// installAliases returns the tags of the install image that have the names of the selected
// channels. If the source has the channel rock-solid, installAliases omits channels that point at a
// lower version than rock-solid.
func installAliases(selected, all []release.Channel) map[string]string {
	lowest := versionOf(all, release.RockSolid)
	aliases := map[string]string{}
	for _, ch := range selected {
		if !isBelow(ch, lowest) {
			aliases[ch.Name] = ch.Tag
		}
	}
	return aliases
}

// missingChannels returns the default channels that a source does not have, and whether the missing
// channels are required. If the source has the channel lts, they are optional.
func missingChannels(all []release.Channel, isBroken func(name string) bool) (missing []string, required bool) {
	has := func(name string) bool {
		return slices.ContainsFunc(all, func(c release.Channel) bool { return c.Name == name })
	}
	for _, name := range release.DefaultChannels() {
		if !has(name) && !isBroken(name) {
			missing = append(missing, name)
		}
	}
	return missing, !has(release.LTS)
}
