package ready

import (
	"fmt"
	"slices"

	"github.com/Masterminds/semver/v3"

	"github.com/layoutproxy/layoutproxy/importer/release"
)

// judgeSteps adds reasons why the cluster cannot be upgraded to a version. Deckhouse upgrades from one minor
// version to the next, and always to the highest patch. It never downgrades, and upgrades to a new major
// version only from 0 to 1. (See the task calculator of the release controller in deckhouse/deckhouse.)
func (j *judge) judgeSteps(all []VersionVerdict) {
	from, ok := release.Parse(j.question.From)
	if !ok {
		return
	}
	isComplete := map[string]bool{} // whether a version is complete, regardless of the steps to it
	var tags []string
	for _, v := range all {
		isComplete[v.Version] = v.Ready
		tags = append(tags, v.Version)
	}
	steps := release.HighestPatches(release.Stable(tags))
	for i := range all {
		v := &all[i]
		reasons := whyNoUpgrade(v.Version, from, steps, isComplete)
		if !v.Asked {
			if j.isOlder(v.Version) {
				v.Notes = append(v.Notes, reasons...)
			}
			continue
		}
		v.Reasons = append(v.Reasons, reasons...)
		v.Ready = len(v.Reasons) == 0
	}
}

// whyNoUpgrade returns the reasons why a cluster cannot be upgraded from its version to the version with the
// given tag.
func whyNoUpgrade(tag string, from release.Release, steps []release.Release, isComplete map[string]bool) []Reason {
	to, ok := release.Parse(tag)
	noUpgrade := func(why string) []Reason { return []Reason{{Kind: NoUpgrade, Version: why}} }
	switch {
	case !ok:
		return noUpgrade(tag + " is not a version, so it is unknown whether " + from.Tag + " can be upgraded to it")
	case to.Version.LessThan(from.Version):
		return []Reason{{Kind: OlderVersion, Version: fmt.Sprintf("%s is older than %s, and Deckhouse does not downgrade", tag, from.Tag)}}
	case to.Version.Major() != from.Version.Major():
		if from.Version.Major() == 0 && to.Version.Major() == 1 {
			return nil
		}
		return noUpgrade(fmt.Sprintf("%s and %s have different major versions, and Deckhouse does not upgrade between them", from.Tag, tag))
	}
	return missingSteps(to.Version, from.Version, steps, isComplete)
}

// missingSteps returns reasons for the minor versions between from and to that are missing or not complete.
func missingSteps(to, from *semver.Version, steps []release.Release, isComplete map[string]bool) (reasons []Reason) {
	short := func(minor uint64) string { return fmt.Sprintf("v%d.%d", to.Major(), minor) }
	miss := func(first, last uint64) {
		if first >= last { // there are no minor versions in between
			return
		}
		needed := short(first)
		are := "which is missing"
		if last-first > 1 {
			needed, are = needed+" to "+short(last-1), "which are missing"
		}
		reasons = append(reasons, Reason{Kind: MissingStep, Version: fmt.Sprintf("%s → %s needs %s, %s", short(from.Minor()), short(to.Minor()), needed, are)})
	}
	next := from.Minor() + 1
	between := slices.DeleteFunc(slices.Clone(steps), func(r release.Release) bool {
		return r.Version.Major() != to.Major() || r.Version.Minor() <= from.Minor() || r.Version.Minor() >= to.Minor()
	})
	for _, step := range between {
		miss(next, step.Version.Minor())
		next = step.Version.Minor() + 1
		if !isComplete[step.Tag] {
			reasons = append(reasons, Reason{Kind: MissingStep, Version: fmt.Sprintf("%s → %s needs %s, which is not ready", short(from.Minor()), short(to.Minor()), step.Tag)})
		}
	}
	miss(next, to.Minor())
	return reasons
}
