package pull

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/Masterminds/semver/v3"
)

const platformArchive = "platform.tar"

// The files of an installer that name the images of a release.
const (
	imagesDigests = "deckhouse/candi/images_digests.json"
	imagesTags    = "deckhouse/candi/images_tags.json" // counts where both are there
)

// platformPlan is which builds of the platform are pulled, and where channels point.
type platformPlan struct {
	tags     []string
	channels []channel
	// pin is the tag that was asked for, where it was one build: the default channels
	// point at the release-channel image of it, if there is one.
	pin     string
	aliases map[string]string // tags of the install image by channels
}

// platform plans the platform: releases, channels, installers and the images that the
// installers name.
func (p *planner) platform(ctx context.Context) error {
	c := p.component("platform", platformArchive)
	plan, err := p.platformPlan(ctx, c)
	if err != nil {
		return err
	}
	if err := p.suspended(plan.channels); err != nil {
		return err
	}
	p.leaveOutBuilds(c, &plan)
	c.Versions, p.bundled.platform = plan.tags, releases(plan.tags)
	if len(plan.tags) == 0 {
		return nil
	}
	// All four are in the archive, those that stay empty too.
	root := p.layout(platformArchive, ".", p.Source.Path)
	install := p.layout(platformArchive, "install", p.Source.Repository("install"))
	standalone := p.layout(platformArchive, "install-standalone", p.Source.Repository("install-standalone"))
	channels := p.layout(platformArchive, "release-channel", p.Source.Repository("release-channel"))
	for _, l := range []*planned{root, install, standalone, channels} {
		l.always = true
		if plan.pin != "" {
			l.piece = askedPiece
		}
	}
	for _, ch := range plan.channels {
		c.pointing(ch.name, ch.tag)
		if _, err := p.add(ctx, channels, ch.name, ch.name); err != nil {
			return err
		}
	}
	b := &builds{planner: p, shown: c, root: root, install: install, standalone: standalone, channels: channels}
	if plan.pin != "" {
		if plan.aliases, err = b.pin(ctx, plan); err != nil {
			return err
		}
	}
	if err := p.each(ctx, len(plan.tags), func(ctx context.Context, i int) error {
		return p.absorb(b.add(ctx, plan.tags[i]), root.piece, c.Name, plan.tags[i])
	}); err != nil {
		return err
	}
	for _, channel := range sortedKeys(plan.aliases) {
		if _, err := p.alias(ctx, install, channel, plan.aliases[channel]); err != nil {
			return err
		}
	}
	if plan.pin == "" {
		return p.releasesFile(ctx, c, channels, plan.tags)
	}
	return nil
}

// leaveOutBuilds takes the builds that are not complete out of a plan, and the channels
// that point at one of them.
func (p *planner) leaveOutBuilds(c *Component, plan *platformPlan) {
	plan.tags = p.complete(c.Name, plan.tags)
	kept := plan.channels[:0:0]
	for _, ch := range plan.channels {
		if p.skips(c.Name, ch.tag) {
			p.gap(buildPiece, c.Name, p.Source.Repository("release-channel"), ch.name, "it points at "+ch.tag+", which is not complete")
			continue
		}
		kept = append(kept, ch)
	}
	plan.channels = kept
	maps.DeleteFunc(plan.aliases, func(_, tag string) bool { return p.skips(c.Name, tag) })
	if len(plan.tags) == 0 {
		c.note("nothing of it: no version is complete")
	}
}

// platformPlan decides which builds are pulled.
func (p *planner) platformPlan(ctx context.Context, c *Component) (platformPlan, error) {
	if p.Selection.DeckhouseTag != "" {
		return p.oneBuild(ctx, p.Selection.DeckhouseTag)
	}
	if p.Selection.IncludePlatform != "" {
		constraint, err := parseConstraint(p.Selection.IncludePlatform)
		if err != nil {
			return platformPlan{}, err
		}
		if constraint.some == nil {
			return p.oneBuild(ctx, constraint.tag)
		}
		return p.someBuilds(ctx, c, constraint)
	}
	return p.allBuilds(ctx, c)
}

// requireChannels reads the release channels of the platform. All of the default ones
// have to be there, but in an edition with lts.
func (p *planner) requireChannels(ctx context.Context) ([]channel, error) {
	repository := p.Source.Repository("release-channel")
	all, missing, err := p.channels(ctx, repository)
	if err != nil {
		return nil, err
	}
	isBroken := func(name string) bool {
		return slices.ContainsFunc(missing, func(g Gap) bool { return g.Tag == name })
	}
	hasLTS := len(all) > 0 && all[len(all)-1].name == lts
	for _, name := range defaultChannels() {
		switch {
		case slices.ContainsFunc(all, func(c channel) bool { return c.name == name }), isBroken(name):
		case hasLTS:
			p.lack(repository, name, "the release channel is not there")
		default:
			missing = append(missing, Gap{Component: "platform", Repository: repository, Tag: name, Reason: "the release channel is not there", piece: channelPiece})
		}
	}
	return all, incomplete(missing)
}

// allBuilds are the releases from the one of rock-solid, or from the lowest version that
// is asked for, to the one of alpha: of each minor version the highest patch, and what
// the channels point at.
func (p *planner) allBuilds(ctx context.Context, c *Component) (platformPlan, error) {
	all, err := p.requireChannels(ctx)
	if err != nil {
		return platformPlan{}, err
	}
	var lowest, highest *semver.Version
	for _, ch := range all {
		switch ch.name {
		case rockSolid:
			lowest = ch.release.version
		case alpha:
			highest = ch.release.version
		}
	}
	if p.Selection.SinceVersion != "" {
		since, err := semver.NewVersion(p.Selection.SinceVersion)
		if err != nil {
			return platformPlan{}, err
		}
		if lowest == nil || since.GreaterThan(lowest) {
			lowest = since
		}
	}
	plan := platformPlan{}
	for _, ch := range all {
		if lowest != nil && ch.release.version != nil && ch.release.version.LessThan(lowest) {
			c.note("release channel %s points at %s, which is below %s", ch.name, ch.tag, lowest)
			continue
		}
		plan.channels = append(plan.channels, ch)
		plan.tags = append(plan.tags, ch.tag)
	}
	if lowest != nil && highest != nil {
		tags, err := p.src.tags(ctx, p.Source.Repository("release-channel"))
		if err != nil {
			return platformPlan{}, err
		}
		between := slices.DeleteFunc(releases(sorted(tags)), func(r release) bool {
			return r.version.LessThan(lowest) || r.version.GreaterThan(highest) || r.version.Prerelease() != ""
		})
		for _, r := range highestPatches(between) {
			plan.tags = append(plan.tags, r.tag)
		}
	}
	if len(plan.tags) == 0 {
		return plan, fmt.Errorf("no release of %s from %s on", p.Source, lowest)
	}
	plan.tags, plan.aliases = orderTags(plan.tags), installAliases(plan.channels, all)
	return plan, nil
}

// installAliases are the channels of the install image and the version that each stands
// for: those among the selected ones that do not point below the version of rock-solid,
// if there is one among all.
func installAliases(selected, all []channel) map[string]string {
	var lowest *semver.Version
	for _, ch := range all {
		if ch.name == rockSolid {
			lowest = ch.release.version
		}
	}
	aliases := map[string]string{}
	for _, ch := range selected {
		if lowest == nil || ch.release.version == nil || !ch.release.version.LessThan(lowest) {
			aliases[ch.name] = ch.tag
		}
	}
	return aliases
}

// orderTags sorts tags, versions by their numbers and behind all others, each once.
func orderTags(tags []string) []string {
	versions := releases(tags)
	others := slices.DeleteFunc(slices.Clone(tags), func(tag string) bool { _, ok := parseRelease(tag); return ok })
	slices.Sort(others)
	for _, r := range versions {
		others = append(others, r.tag)
	}
	return slices.Compact(others)
}

// someBuilds are the releases that a constraint chooses, and the channels whose version
// it holds for, with these versions.
func (p *planner) someBuilds(ctx context.Context, c *Component, constraint *constraint) (platformPlan, error) {
	tags, err := p.wanted(ctx, p.Source.Repository("release-channel"), constraint)
	if err != nil {
		return platformPlan{}, err
	}
	all, err := p.requireChannels(ctx)
	if err != nil {
		return platformPlan{}, err
	}
	plan := platformPlan{tags: tags}
	for _, ch := range all {
		if ch.release.version == nil || !constraint.some.Check(ch.release.version) {
			c.note("release channel %s points at %s, which is not pulled", ch.name, ch.tag)
			continue
		}
		plan.channels = append(plan.channels, ch)
		plan.tags = append(plan.tags, ch.tag)
	}
	if len(plan.tags) == 0 {
		return platformPlan{}, fmt.Errorf("%s has no release that is %s", p.Source, constraint.text)
	}
	plan.tags, plan.aliases = orderTags(plan.tags), installAliases(plan.channels, all)
	return plan, nil
}

// oneBuild is the build that a channel, a version or a tag names.
func (p *planner) oneBuild(ctx context.Context, tag string) (platformPlan, error) {
	repository := p.Source.Repository("release-channel")
	if slices.Contains(allChannels(), tag) {
		ch, ok, err := p.channel(ctx, repository, tag)
		if err != nil {
			return platformPlan{}, err
		}
		if !ok {
			return platformPlan{}, incomplete([]Gap{{Component: "platform", Repository: repository, Tag: tag, Reason: "the release channel is not there", piece: askedPiece}})
		}
		return platformPlan{tags: []string{ch.tag}, channels: []channel{ch}, pin: tag}, nil
	}
	tag, err := p.exact(ctx, p.Source.Path, tag)
	if err != nil {
		return platformPlan{}, err
	}
	// A version that the vendor has suspended goes by the channels that point at it.
	all, gaps, err := p.channels(ctx, repository)
	if err == nil {
		err = incomplete(gaps)
	}
	if err != nil {
		return platformPlan{}, err
	}
	pointing := slices.DeleteFunc(all, func(c channel) bool { return c.tag != tag })
	if err := p.suspended(pointing); err != nil {
		return platformPlan{}, err
	}
	return platformPlan{tags: []string{tag}, pin: tag}, nil
}

// builds plans builds of the platform.
type builds struct {
	*planner
	shown                               *Component
	root, install, standalone, channels *planned
}

// pin makes the default channels of a bundle point at the release-channel image of one
// build, if the source has one, and returns the aliases of the install image.
func (b *builds) pin(ctx context.Context, plan platformPlan) (map[string]string, error) {
	aliases := map[string]string{}
	for _, channel := range defaultChannels() {
		ok, err := b.alias(ctx, b.channels, channel, plan.pin)
		if err != nil {
			return nil, err
		}
		if !ok {
			b.lack(b.channels.Repository, plan.pin, "not there, so no release channel of the bundle points at "+plan.tags[0])
			return nil, nil
		}
		b.shown.pointing(channel, plan.tags[0])
		aliases[channel] = plan.tags[0]
	}
	return aliases, nil
}

// add plans one build of the platform.
func (b *builds) add(ctx context.Context, tag string) error {
	for _, l := range []*planned{b.root, b.install, b.channels} {
		b.need(l, tag, unit{b.shown.Name, tag})
	}
	ok, err := b.addIfThere(ctx, b.channels, tag, tag)
	if err != nil {
		return err
	}
	if !ok {
		b.lack(b.channels.Repository, tag, "not there")
	}
	if _, err := b.planner.add(ctx, b.root, tag, tag); err != nil {
		return err
	}
	if ok, err = b.addIfThere(ctx, b.standalone, tag, tag); err != nil {
		return err
	}
	if !ok {
		b.lack(b.standalone.Repository, tag, "not there")
	}
	if ok, err := b.planner.add(ctx, b.install, tag, tag); err != nil || !ok {
		return err
	}
	return b.namedByInstaller(ctx, b.root, b.install, unit{b.shown.Name, tag})
}

// namedByInstaller plans the images that an installer names: by tag, where it has a list
// of tags, else by digest.
func (p *planner) namedByInstaller(ctx context.Context, root, install *planned, build unit) error {
	tag := build.version
	d, ok := p.imageOf(install, tag)
	if !ok {
		return nil // and a gap that says so
	}
	files, err := p.src.imageFiles(ctx, install.Repository, d, imagesDigests, imagesTags)
	if err != nil {
		return broken(install.Repository, tag, err)
	}
	data, byTag := files[imagesTags]
	if !byTag {
		data, ok = files[imagesDigests]
		if !ok {
			p.gapOf(install, newGap(install.Repository, tag, "the installer has neither "+imagesTags+" nor "+imagesDigests), tag)
			return nil
		}
		return p.internal(ctx, root, install.Repository, imagesDigests, data, build, true)
	}
	var tags []string
	if err := stringsIn(data, func(s string) { tags = append(tags, s) }); err != nil {
		return broken(install.Repository, tag, fmt.Errorf("%s: %w", imagesTags, err))
	}
	slices.Sort(tags)
	tags = slices.Compact(tags)
	return p.each(ctx, len(tags), func(ctx context.Context, i int) error {
		p.need(root, tags[i], build)
		_, err := p.add(ctx, root, tags[i], tags[i])
		return err
	})
}
