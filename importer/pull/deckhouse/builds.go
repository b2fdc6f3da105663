package deckhouse

import (
	"fmt"
	"slices"

	"github.com/Masterminds/semver/v3"

	"github.com/layoutproxy/layoutproxy/importer/release"
)

// builds are the selected builds and release channels of the platform.
type builds struct {
	tags     []string
	channels []release.Channel
	// pin is the tag or channel that the user names, if only one build is pulled. The default
	// channels of the bundle then point at the release-channel image of that tag, if it exists.
	pin     string
	aliases map[string]string // tags of the install image, by channel
	notes   []string          // why channels are left out
}

// findSpan returns the lowest and the highest version to pull. The lowest is that of rock-solid,
// or the requested one if that is higher; the highest is that of alpha. Each is nil if unknown.
func findSpan(channels []release.Channel, since *semver.Version) (lowest, highest *semver.Version) {
	lowest, highest = versionOf(channels, release.RockSolid), versionOf(channels, release.Alpha)
	if since != nil && (lowest == nil || since.GreaterThan(lowest)) {
		lowest = since
	}
	return lowest, highest
}

// versionOf returns the version that a channel points at, if any.
func versionOf(channels []release.Channel, name string) *semver.Version {
	i := slices.IndexFunc(channels, func(c release.Channel) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return channels[i].Release.Version
}

// chooseBuilds chooses from tags the highest patch per minor version, from lowest to highest. It
// adds the version of each channel, unless that version is below lowest.
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

// chooseInRange chooses the channels whose version fits a constraint. It adds these versions
// to the tags that the constraint has chosen.
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

// isBelow reports whether a channel points at a version below the lowest one, if both are known.
func isBelow(c release.Channel, lowest *semver.Version) bool {
	return lowest != nil && c.Release.Version != nil && c.Release.Version.LessThan(lowest)
}

// installAliases returns the tags of the install image for the selected channels. It omits
// channels that point below the version of rock-solid, if the source has that channel.
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

// missingChannels returns the default channels that a source does not have, and whether they
// are required. They are optional in an edition that has the channel lts.
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
