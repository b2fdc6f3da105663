package ready

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/layoutproxy/layoutproxy/importer/release"
	"github.com/layoutproxy/layoutproxy/layoutstore/imagefile"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// buildTags has the tags of the repositories install and release-channel. Its field here has the available
// versions and other builds, which can be tags of these two repositories or of the root.
type buildTags struct{ installs, entries, here []string }

// findBuilds finds the available versions of the platform.
func (g *gatherer) findBuilds(ctx context.Context) (f buildTags, err error) {
	if f.installs, err = g.tags(ctx, installPath); err != nil {
		return f, err
	}
	if f.entries, err = g.tags(ctx, channelsPath); err != nil {
		return f, err
	}
	// Tags of the root are versions of the platform only if install or release-channel has tags, or
	// if problems may hide these repositories.
	var platforms []string
	if len(f.installs)+len(f.entries)+len(g.hidden()) > 0 {
		platforms, err = g.tags(ctx, rootPath)
	}
	f.here = versionsOf(f.installs, f.entries, platforms)
	return f, err
}

// builds gathers the facts of the platform versions to judge.
func (g *gatherer) builds(ctx context.Context, f *Facts) error {
	tags, err := g.findBuilds(ctx)
	if err != nil {
		return err
	}
	f.Deckhouse, f.Here = len(tags.installs)+len(tags.entries)+len(tags.here) > 0, tags.here
	for i, c := range f.Channels {
		f.Channels[i].Here = slices.ContainsFunc(f.Here, func(tag string) bool { return release.SameVersion(tag, c.Target) })
	}
	for _, tag := range relevant(f.Here, g.scope.Question) {
		b, err := g.build(ctx, tag)
		if err != nil {
			return err
		}
		f.Builds = append(f.Builds, b)
	}
	f.Builds = dropDeclaredTags(f.Builds, tags.installs, tags.entries)
	return nil
}

// versionsOf returns the versions and other builds among the tags of install, release-channel and the root. A
// version counts as soon as one of the three repositories has it.
func versionsOf(installs, entries, platforms []string) []string {
	var all []string
	for _, tag := range installs {
		if isBuild(tag) {
			all = append(all, tag)
		}
	}
	for _, tag := range slices.Concat(entries, platforms) {
		if _, isVersion := release.Parse(tag); isVersion {
			all = append(all, tag)
		}
	}
	return release.SortTags(all)
}

// isBuild reports whether a tag of install can name a build. Tags of channels, digests and
// attestations cannot.
func isBuild(tag string) bool {
	return !slices.Contains(release.Channels(), tag) && !names.IsDigestTag(tag) && !strings.HasSuffix(tag, ".att")
}

// relevant returns the versions to judge. These are the requested versions. For an upgrade, these are also
// the highest patches of the minor versions on the way.
func relevant(here []string, q Question) (tags []string) {
	if len(q.Releases) == 0 {
		return here
	}
	var steps []release.Release
	if q.From != "" {
		steps = release.HighestPatches(release.Stable(here))
	}
	for _, tag := range here {
		asked := slices.ContainsFunc(q.Releases, func(r string) bool { return release.SameVersion(r, tag) })
		isStep := slices.ContainsFunc(steps, func(r release.Release) bool { return r.Tag == tag && isBetween(r, q) })
		if asked || isStep {
			tags = append(tags, tag)
		}
	}
	return tags
}

// isBetween reports whether a version is higher than the cluster's and lower than a requested one.
func isBetween(r release.Release, q Question) bool {
	from, ok := release.Parse(q.From)
	if !ok || !r.Version.GreaterThan(from.Version) {
		return false
	}
	return slices.ContainsFunc(q.Releases, func(asked string) bool {
		to, ok := release.Parse(asked)
		return ok && r.Version.LessThan(to.Version)
	})
}

// dropDeclaredTags removes builds whose tag looks like a version, but is the tag of an image that another
// build declares. Such a tag exists only in the root.
func dropDeclaredTags(all []Build, installs, entries []string) []Build {
	declared := map[string]bool{}
	for _, b := range all {
		for _, i := range b.Declared {
			declared[i.Reference] = true
		}
	}
	return slices.DeleteFunc(all, func(b Build) bool {
		return declared[b.Tag] && !slices.Contains(installs, b.Tag) && !slices.Contains(entries, b.Tag)
	})
}

func (g *gatherer) build(ctx context.Context, tag string) (Build, error) {
	own := []Image{{Name: "platform image", Repository: rootPath, Reference: tag}, {Name: "installer", Repository: installPath, Reference: tag},
		{Name: "stand-alone installer", Repository: standalonePath, Reference: tag}, {Name: "release-channel entry", Repository: channelsPath, Reference: tag}}
	if err := g.checkAll(ctx, own); err != nil {
		return Build{}, err
	}
	b := Build{Tag: tag, Platform: own[0], Installer: own[1], Standalone: own[2], Entry: own[3]}
	for _, read := range []func(context.Context, *Build) error{g.readInstaller, g.readOwnList, g.readRequirements} {
		if err := read(ctx, &b); err != nil {
			return b, err
		}
	}
	if err := g.checkAll(ctx, b.Declared); err != nil {
		return b, err
	}
	return b, g.checkAll(ctx, b.Own)
}

// noteUnreadable records that the declaration in an image cannot be read, with the first reason
// that is not nil. If all reasons are nil, it records nothing.
func (b *Build) noteUnreadable(i Image, reasons ...error) {
	for _, why := range reasons {
		if why != nil {
			b.Unreadable = append(b.Unreadable, Unreadable{i, why.Error()})
			return
		}
	}
}

func (g *gatherer) readInstaller(ctx context.Context, b *Build) error {
	if b.Installer.State != Complete {
		return nil
	}
	files, unreadable, err := g.files(ctx, installPath, b.Tag, release.InstallerTags, release.InstallerDigests)
	if err != nil {
		return err
	}
	images, malformed := release.ParseInstaller(files)
	b.noteUnreadable(b.Installer, unreadable, malformed)
	b.Declared = platformImages(images)
	return nil
}

// platformImages turns a list of declared images into images of the root, without duplicates.
func platformImages(images []release.Image) (all []Image) {
	for _, i := range slices.Compact(images) {
		module, name, ok := strings.Cut(i.Name, "/")
		if !ok {
			module, name = "", i.Name
		}
		all = append(all, Image{Module: module, Name: name, Repository: rootPath, Reference: i.Reference})
	}
	return all
}

// readOwnList reads the platform image's own list of images.
func (g *gatherer) readOwnList(ctx context.Context, b *Build) error {
	if b.Platform.State != Complete || !g.traits().ownList {
		return nil
	}
	files, unreadable, err := g.files(ctx, rootPath, b.Tag, release.PlatformDigests)
	var format *imagefile.FormatError
	switch {
	case err != nil:
		return err
	case errors.As(unreadable, &format): // this is no image of Deckhouse
		b.OwnUnreadable = unreadable.Error()
		return nil
	case unreadable != nil:
		b.noteUnreadable(b.Platform, unreadable)
		return nil
	case files[release.PlatformDigests] == nil:
		return nil
	}
	images, err := release.ParseDigests(files[release.PlatformDigests])
	if err != nil {
		b.OwnUnreadable = release.PlatformDigests + ": " + err.Error()
		return nil
	}
	b.Own = append([]Image{}, platformImages(images)...)
	return nil
}

// readRequirements reads what a version requires from its image in release-channel.
func (g *gatherer) readRequirements(ctx context.Context, b *Build) error {
	if b.Entry.State != Complete {
		return nil
	}
	files, unreadable, err := g.files(ctx, channelsPath, b.Tag, release.VersionFile)
	if err != nil {
		return err
	}
	var malformed error
	b.Requirements, malformed = release.ParseRequirements(files[release.VersionFile])
	b.noteUnreadable(b.Entry, unreadable, malformed)
	return nil
}
