package deckhouse

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/Masterminds/semver/v3"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/release"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

const platformArchive = "platform.tar"

type platform struct {
	planner *planner
	shown   *pull.Component
	builds  builds

	// All four layouts are in the archive, even if they have no images.
	root, install, standalone, channels *pull.Layout
}

func (p *planner) channelsRepository() string { return p.draft.Root.Repository("release-channel") }

// planPlatform plans the platform: its releases, channels and installers, and the images that the
// installers list.
func (p *planner) planPlatform(ctx context.Context) error {
	c := p.draft.Component("platform", platformArchive)
	b, err := p.findBuilds(ctx)
	if err != nil {
		return err
	}
	for _, note := range b.notes {
		c.Note("%s", note)
	}
	if err := p.selection.checkSuspended(b.channels); err != nil {
		return err
	}
	p.leaveOutBuilds(c, &b)
	c.Versions, p.bundled.platform = b.tags, release.ParseAll(b.tags)
	if len(b.tags) == 0 {
		return nil
	}
	of := build
	if b.pin != "" {
		of = named
	}
	layout := func(path string) *pull.Layout {
		return p.layout(platformArchive, path, p.draft.Root.Repository(path), of, keepEmpty)
	}
	pl := &platform{planner: p, shown: c, builds: b, root: layout("."), install: layout("install"), standalone: layout("install-standalone"), channels: layout("release-channel")}
	return pl.plan(ctx, of)
}

func (pl *platform) plan(ctx context.Context, of kind) error {
	draft, b := pl.planner.draft, &pl.builds
	for _, ch := range b.channels {
		pl.shown.Point(ch.Name, ch.Tag)
		if _, err := draft.Add(ctx, pl.channels, ch.Name, ch.Name); err != nil {
			return err
		}
	}
	if b.pin != "" {
		if err := pl.pinChannels(ctx); err != nil {
			return err
		}
	}
	if err := draft.Each(ctx, len(b.tags), func(ctx context.Context, i int) error {
		return draft.Absorb(pl.planBuild(ctx, b.tags[i]), part(of), pull.Unit{Component: pl.shown.Name, Version: b.tags[i]})
	}); err != nil {
		return err
	}
	for _, channel := range sortedKeys(b.aliases) {
		if _, err := draft.Alias(ctx, pl.install, channel, b.aliases[channel]); err != nil {
			return err
		}
	}
	if b.pin == "" {
		return pl.planReleasesFile(ctx)
	}
	// The file of an older bundle would make a cluster ask for versions that the new platform.tar does not have.
	draft.RemoveFile(releasesName)
	return nil
}

// leaveOutBuilds removes incomplete builds and the channels that point at them from a plan.
func (p *planner) leaveOutBuilds(c *pull.Component, b *builds) {
	skips := func(tag string) bool { return p.draft.Skips(pull.Unit{Component: c.Name, Version: tag}) }
	b.tags = p.draft.NotSkipped(c.Name, b.tags)
	kept := b.channels[:0:0]
	for _, ch := range b.channels {
		if skips(ch.Tag) {
			p.draft.AddProblem(part(build), c.Name, p.channelsRepository(), ch.Name, fmt.Sprintf("it points at %s, which is incomplete", ch.Tag))
			continue
		}
		kept = append(kept, ch)
	}
	b.channels = kept
	maps.DeleteFunc(b.aliases, func(_, tag string) bool { return skips(tag) })
	if len(b.tags) == 0 {
		c.Note("not pulled: no version is complete")
	}
}

// findBuilds chooses the builds of the platform. It reads the tags and release channels that it
// needs for this choice.
func (p *planner) findBuilds(ctx context.Context) (builds, error) {
	if p.selection.DeckhouseTag != "" {
		return p.findBuild(ctx, p.selection.DeckhouseTag)
	}
	if p.selection.IncludePlatform == "" {
		return p.findAllBuilds(ctx)
	}
	constraint, err := release.ParseConstraint(p.selection.IncludePlatform)
	if err != nil {
		return builds{}, err
	}
	if len(constraint.Ranges) == 0 {
		return p.findBuild(ctx, constraint.Tag)
	}
	tags, err := p.chooseTags(ctx, p.channelsRepository(), constraint)
	if err != nil {
		return builds{}, err
	}
	channels, err := p.requireChannels(ctx)
	if err != nil {
		return builds{}, err
	}
	b := chooseInRange(channels, tags, constraint)
	if len(b.tags) == 0 {
		return builds{}, fmt.Errorf("%s has no release that matches %s", p.draft.Root, constraint.Text)
	}
	return b, nil
}

// findAllBuilds finds the builds between the lowest and the highest release channel: see
// [chooseBuilds].
func (p *planner) findAllBuilds(ctx context.Context) (builds, error) {
	channels, err := p.requireChannels(ctx)
	if err != nil {
		return builds{}, err
	}
	var since *semver.Version
	if p.selection.SinceVersion != "" {
		if since, err = semver.NewVersion(p.selection.SinceVersion); err != nil {
			return builds{}, err
		}
	}
	lowest, highest := findSpan(channels, since)
	var tags map[string]bool
	if lowest != nil && highest != nil {
		if tags, err = p.source.Tags(ctx, p.channelsRepository()); err != nil {
			return builds{}, err
		}
	}
	b := chooseBuilds(channels, sortedKeys(tags), lowest, highest)
	if len(b.tags) == 0 {
		return builds{}, fmt.Errorf("%s has no release %s or later", p.draft.Root, lowest)
	}
	return b, nil
}

// requireChannels reads the release channels of the platform. If a required channel is missing, it
// fails with *pull.IncompleteError. If an optional channel is missing, the report lists it. Other
// errors come from the source.
func (p *planner) requireChannels(ctx context.Context) ([]release.Channel, error) {
	const reason = "the release channel is missing"
	repository := p.channelsRepository()
	all, problems, err := p.readChannels(ctx, repository)
	if err != nil {
		return nil, err
	}
	isBroken := func(name string) bool {
		return slices.ContainsFunc(problems, func(g pull.Problem) bool { return g.Tag() == name })
	}
	missing, required := missingChannels(all, isBroken)
	for _, name := range missing {
		if !required {
			p.draft.AddMissing(repository, name, reason)
			continue
		}
		problems = append(problems, newChannelProblem(repository, name, reason, platformChannel))
	}
	return all, pull.Incomplete(problems)
}

func newChannelProblem(repository, channel, reason string, as kind) pull.Problem {
	g := pull.NewProblem(problem.Incomplete, repository, channel, reason)
	g.Component, g.Part = "platform", part(as)
	return g
}

// findBuild finds the build for a tag that the user gave: a release channel, a version or any other
// tag.
func (p *planner) findBuild(ctx context.Context, tag string) (builds, error) {
	repository := p.channelsRepository()
	if slices.Contains(release.Channels(), tag) {
		ch, ok, err := p.readChannel(ctx, repository, tag)
		if err != nil {
			return builds{}, err
		}
		if !ok {
			return builds{}, pull.Incomplete([]pull.Problem{newChannelProblem(repository, tag, "the release channel is missing", named)})
		}
		return builds{tags: []string{ch.Tag}, channels: []release.Channel{ch}, pin: tag}, nil
	}
	tag, err := p.findExactTag(ctx, p.draft.Root.Path, tag)
	if err != nil {
		return builds{}, err
	}
	// A version is suspended if a suspended channel points at it, so read all channels.
	all, problems, err := p.readChannels(ctx, repository)
	if err == nil {
		err = pull.Incomplete(problems)
	}
	if err != nil {
		return builds{}, err
	}
	pointing := slices.DeleteFunc(all, func(c release.Channel) bool { return c.Tag != tag })
	if err := p.selection.checkSuspended(pointing); err != nil {
		return builds{}, err
	}
	return builds{tags: []string{tag}, pin: tag}, nil
}

// pinChannels makes the default channels in the bundle point at one build: it tags the release-channel image
// of pin, and the build's install image, with the names of the channels. If the source has no release-channel
// image of pin, pinChannels only reports this.
func (pl *platform) pinChannels(ctx context.Context) error {
	draft, b := pl.planner.draft, &pl.builds
	aliases := map[string]string{}
	for _, channel := range release.DefaultChannels() {
		ok, err := draft.Alias(ctx, pl.channels, channel, b.pin)
		if err != nil {
			return err
		}
		if !ok {
			draft.AddMissing(pl.channels.Repository, b.pin, "missing, so no release channel in the bundle points at "+b.tags[0])
			return nil
		}
		pl.shown.Point(channel, b.tags[0])
		aliases[channel] = b.tags[0]
	}
	b.aliases = aliases
	return nil
}

func (pl *platform) planBuild(ctx context.Context, tag string) error {
	draft, unit := pl.planner.draft, pull.Unit{Component: pl.shown.Name, Version: tag}
	for _, l := range []*pull.Layout{pl.root, pl.install, pl.channels} {
		draft.Need(l, tag, unit)
	}
	if err := pl.planner.addOrNote(ctx, pl.channels, tag); err != nil {
		return err
	}
	if _, err := draft.Add(ctx, pl.root, tag, tag); err != nil {
		return err
	}
	if err := pl.planner.addOrNote(ctx, pl.standalone, tag); err != nil {
		return err
	}
	if ok, err := draft.Add(ctx, pl.install, tag, tag); err != nil || !ok {
		return err
	}
	return pl.planDeclared(ctx, unit)
}

// addOrNote plans an optional image. If the image is missing, the report lists it.
func (p *planner) addOrNote(ctx context.Context, l *pull.Layout, tag string) error {
	ok, err := p.draft.AddIfThere(ctx, l, tag, tag)
	if err == nil && !ok {
		p.draft.AddMissing(l.Repository, tag, problem.Missing)
	}
	return err
}

// planDeclared plans the images that the installer of a build lists. If the installer lists tags,
// planDeclared uses the tags. Otherwise, it uses the digests.
func (pl *platform) planDeclared(ctx context.Context, unit pull.Unit) error {
	p, tag := pl.planner, unit.Version
	image, ok := p.draft.ImageOf(pl.install, tag)
	if !ok {
		return nil // the missing installer is reported as another problem
	}
	files, err := p.source.Files(ctx, pl.install.Repository, image, release.InstallerDigests, release.InstallerTags)
	if err != nil {
		return pull.ImageError(pl.install.Repository, tag, err)
	}
	images, err := release.ParseInstaller(files)
	if errors.Is(err, release.ErrNothingDeclared) {
		p.draft.AddTagProblem(pl.install, tag, err.Error())
		return nil
	}
	if err != nil {
		return pull.ImageError(pl.install.Repository, tag, unusable("%w", err))
	}
	return p.planImages(ctx, pl.root, release.References(images), &unit)
}

// planImages plans images, each given by its tag or digest. If needs is not nil, this unit becomes
// incomplete if one of the images is missing.
func (p *planner) planImages(ctx context.Context, l *pull.Layout, references []string, needs *pull.Unit) error {
	return p.draft.Each(ctx, len(references), func(ctx context.Context, i int) error {
		tag := tagOf(references[i])
		if needs != nil {
			p.draft.Need(l, tag, *needs)
		}
		_, err := p.draft.Add(ctx, l, tag, references[i])
		return err
	})
}
