package pull

import (
	"context"
	"fmt"
	"slices"

	"github.com/Masterminds/semver/v3"
)

const platformArchive = "platform.tar"

// The files of an installer that name the images of a release.
const (
	imagesDigests = "deckhouse/candi/images_digests.json"
	imagesTags    = "deckhouse/candi/images_tags.json" // of old ones
)

// platformPlan is which builds of the platform are pulled, and where channels point.
type platformPlan struct {
	tags     []string
	channels []channel
	// alias is the tag of the release-channel image that all default channels point at,
	// where one build was asked for.
	alias string
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
	c.Versions = plan.tags
	channels := p.layout(platformArchive, "release-channel", p.Source.Repository("release-channel"))
	for _, ch := range plan.channels {
		c.pointing(ch.name, ch.tag)
		if _, err := p.add(ctx, channels, ch.name, ch.name); err != nil {
			return err
		}
	}
	if plan.alias != "" {
		if err := p.alias(ctx, c, channels, plan.alias, plan.tags[0], defaultChannels()); err != nil {
			return err
		}
	}
	return p.each(ctx, len(plan.tags), func(ctx context.Context, i int) error { return p.build(ctx, c, channels, plan.tags[i]) })
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
	all, err := p.channels(ctx, repository)
	if err != nil {
		return nil, err
	}
	if len(all) > 0 && all[len(all)-1].name == lts {
		return all, nil
	}
	for _, name := range defaultChannels() {
		if !slices.ContainsFunc(all, func(c channel) bool { return c.name == name }) {
			p.gap(repository, name, "the release channel is not there")
		}
	}
	return all, incomplete(p.gaps)
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
		case "rock-solid":
			lowest = ch.release.version
		case "alpha":
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
	plan.tags = orderTags(plan.tags)
	return plan, nil
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

// someBuilds are the releases that a constraint chooses, and the channels that point
// at them.
func (p *planner) someBuilds(ctx context.Context, c *Component, constraint *constraint) (platformPlan, error) {
	repository := p.Source.Repository("release-channel")
	if p.Selection.ProxyRegistry {
		repository = p.Source.Path
	}
	tags, err := p.wanted(ctx, repository, constraint)
	if err != nil {
		return platformPlan{}, err
	}
	if len(tags) == 0 {
		return platformPlan{}, fmt.Errorf("%s has no release that is %s", p.Source, constraint.text)
	}
	all, err := p.channels(ctx, p.Source.Repository("release-channel"))
	if err != nil {
		return platformPlan{}, err
	}
	plan := platformPlan{tags: tags}
	for _, ch := range all {
		if slices.Contains(tags, ch.tag) {
			plan.channels = append(plan.channels, ch)
		} else {
			c.note("release channel %s points at %s, which is not pulled", ch.name, ch.tag)
		}
	}
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
			p.gap(repository, tag, "the release channel is not there")
			return platformPlan{}, incomplete(p.gaps)
		}
		return platformPlan{tags: []string{ch.tag}, channels: []channel{ch}, alias: tag}, nil
	}
	tag, err := p.exact(ctx, p.Source.Path, tag)
	if err != nil {
		return platformPlan{}, err
	}
	// A version that the vendor has suspended goes by the channels that point at it.
	all, err := p.channels(ctx, repository)
	if err != nil {
		return platformPlan{}, err
	}
	pointing := slices.DeleteFunc(all, func(c channel) bool { return c.tag != tag })
	if err := p.suspended(pointing); err != nil {
		return platformPlan{}, err
	}
	return platformPlan{tags: []string{tag}, alias: tag}, nil
}

// alias makes channels of a bundle point at the release-channel image of one build, if
// the source has one.
func (p *planner) alias(ctx context.Context, c *Component, l *planned, image, tag string, channels []string) error {
	for _, name := range channels {
		ok, err := p.addIfThere(ctx, l, name, image)
		if err != nil {
			return err
		}
		if !ok {
			c.note("%s:%s is not there: no release channel points at %s", l.Repository, image, tag)
			return nil
		}
		c.pointing(name, tag)
	}
	return nil
}

// build plans one build of the platform.
func (p *planner) build(ctx context.Context, c *Component, channels *planned, tag string) error {
	root := p.layout(platformArchive, ".", p.Source.Path)
	install := p.layout(platformArchive, "install", p.Source.Repository("install"))
	standalone := p.layout(platformArchive, "install-standalone", p.Source.Repository("install-standalone"))
	if _, err := p.addIfThere(ctx, channels, tag, tag); err != nil {
		return err
	}
	if _, err := p.add(ctx, root, tag, tag); err != nil {
		return err
	}
	ok, err := p.addIfThere(ctx, standalone, tag, tag)
	if err != nil {
		return err
	}
	if !ok {
		p.mu.Lock()
		c.note("%s:%s is not there", standalone.Repository, tag)
		p.mu.Unlock()
	}
	if ok, err := p.add(ctx, install, tag, tag); err != nil || !ok {
		return err
	}
	return p.namedByInstaller(ctx, root, install, tag)
}

// namedByInstaller plans the images that an installer names: by digest, or those of old
// ones by tag.
func (p *planner) namedByInstaller(ctx context.Context, root, install *planned, tag string) error {
	d, err := p.src.resolve(ctx, install.Repository, tag)
	if err != nil {
		return err
	}
	files, err := p.src.peek(ctx, install.Repository, d, imagesDigests, imagesTags)
	if err != nil {
		return broken(install.Repository, tag, err)
	}
	if data, ok := files[imagesDigests]; ok {
		return p.internal(ctx, root, install.Repository, tag, imagesDigests, data)
	}
	data, ok := files[imagesTags]
	if !ok {
		p.gap(install.Repository, tag, "the installer has no "+imagesDigests)
		return nil
	}
	var tags []string
	if err := stringsIn(data, func(s string) { tags = append(tags, s) }); err != nil {
		return broken(install.Repository, tag, fmt.Errorf("%s: %w", imagesTags, err))
	}
	slices.Sort(tags)
	tags = slices.Compact(tags)
	return p.each(ctx, len(tags), func(ctx context.Context, i int) error {
		_, err := p.add(ctx, root, tags[i], tags[i])
		return err
	})
}
