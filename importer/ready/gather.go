package ready

import (
	"context"
	"errors"
	"maps"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/importer/release"
	"github.com/layoutproxy/layoutproxy/layoutstore/imagefile"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// Paths of repositories below the root, in a bundle and in a registry.
const (
	rootPath       = "."
	installPath    = "install"
	standalonePath = "install-standalone"
	channelsPath   = "release-channel"
	modulesPath    = "modules"
	databasesPath  = "security"
)

// Scope says which facts are gathered.
type Scope struct {
	Question
	// Modules are those that are judged; all that are here if nil.
	Modules map[string]release.Selector
	// Deep reads every blob and checks its digest.
	Deep bool
}

// content is where facts come from. Its methods may be called from several goroutines, if
// parallel says so. Errors are those that end the work: what is missing or damaged is a fact.
type content interface {
	// tags of a repository; none where there is none.
	tags(ctx context.Context, path string) ([]string, error)
	// look says how much of an image is there.
	look(ctx context.Context, path, reference string) (Presence, error)
	// files reads files out of an image that is there. unreadable says why that fails: an
	// *imagefile.FormatError where its layers are no archives of files.
	files(ctx context.Context, path, reference string, names ...string) (files map[string][]byte, unreadable, err error)
	// modules are the names of all modules.
	modules(ctx context.Context) ([]string, error)
	// hidden are problems that may hide tags.
	hidden() []problem.Problem
	// traits say what is worth asking.
	traits() traits
}

// traits are differences between sources and registries.
type traits struct {
	parallel int // how many questions may be asked at once
	// allVersions is set where every version of a module is judged, and not only those that
	// the release channels point at: a registry may have hundreds.
	allVersions bool
	// ownList is set where the platform's own list of images is read, for which its layers
	// have to be.
	ownList bool
}

// gather gathers the facts for a question.
func gather(ctx context.Context, from content, s Scope) (Facts, error) {
	g := &gatherer{content: from, scope: s, limit: max(from.traits().parallel, 1)}
	var f Facts
	var err error
	if f.Channels, err = g.channels(ctx, channelsPath); err != nil {
		return f, err
	}
	if err := g.builds(ctx, &f); err != nil {
		return f, err
	}
	if err := g.findModules(ctx, &f); err != nil {
		return f, err
	}
	f.Hidden = from.hidden()
	if !f.Deckhouse {
		return f, nil
	}
	for _, db := range release.Databases() {
		f.Databases = append(f.Databases, Image{Name: db.Name, Repository: path.Join(databasesPath, db.Name), Reference: db.Tag})
	}
	return f, g.lookAt(ctx, f.Databases)
}

type gatherer struct {
	content
	scope Scope
	limit int
}

// each calls do for 0 to n-1, several at once.
func (g *gatherer) each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(g.limit)
	for i := range n {
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}

// lookAt looks for each of the images.
func (g *gatherer) lookAt(ctx context.Context, images []Image) error {
	return g.each(ctx, len(images), func(ctx context.Context, i int) (err error) {
		images[i].Presence, err = g.look(ctx, images[i].Repository, images[i].Reference)
		return err
	})
}

// image looks for one image.
func (g *gatherer) image(ctx context.Context, name, path, reference string) (Image, error) {
	all := []Image{{Name: name, Repository: path, Reference: reference}}
	err := g.lookAt(ctx, all)
	return all[0], err
}

// channels are the release channels of a repository that are there, in their order.
func (g *gatherer) channels(ctx context.Context, at string) (all []Channel, err error) {
	tags, err := g.tags(ctx, at)
	if err != nil {
		return nil, err
	}
	for _, name := range release.Channels() {
		if !slices.Contains(tags, name) {
			continue
		}
		c := Channel{Name: name}
		if c.Image, err = g.image(ctx, "release channel "+name, at, name); err != nil {
			return nil, err
		}
		if c.Image.State == Complete {
			if err := g.readChannel(ctx, &c); err != nil {
				return nil, err
			}
		}
		all = append(all, c)
	}
	return all, nil
}

func (g *gatherer) readChannel(ctx context.Context, c *Channel) error {
	files, unreadable, err := g.files(ctx, c.Image.Repository, c.Name, release.VersionFile)
	if err != nil {
		return err
	}
	if unreadable != nil {
		c.Unreadable = unreadable.Error()
		return nil
	}
	parsed, err := release.ParseChannel(c.Name, files[release.VersionFile])
	if err != nil {
		c.Unreadable = err.Error()
	}
	c.Target = parsed.Tag
	return nil
}

// found are the tags that name versions of the platform.
type found struct{ installs, entries, here []string }

// findBuilds finds the versions of the platform.
func (g *gatherer) findBuilds(ctx context.Context) (f found, err error) {
	if f.installs, err = g.tags(ctx, installPath); err != nil {
		return f, err
	}
	if f.entries, err = g.tags(ctx, channelsPath); err != nil {
		return f, err
	}
	// The root alone may be that of anything, unless the others may be hidden.
	var platforms []string
	if len(f.installs)+len(f.entries)+len(g.hidden()) > 0 {
		platforms, err = g.tags(ctx, rootPath)
	}
	f.here = buildTags(f.installs, f.entries, platforms)
	return f, err
}

// builds gathers the versions of the platform that the question is about.
func (g *gatherer) builds(ctx context.Context, f *Facts) error {
	tags, err := g.findBuilds(ctx)
	if err != nil {
		return err
	}
	f.Deckhouse, f.Here = len(tags.installs)+len(tags.entries)+len(tags.here) > 0, tags.here
	for i, c := range f.Channels {
		f.Channels[i].Here = slices.ContainsFunc(f.Here, func(tag string) bool { return sameVersion(tag, c.Target) })
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

// buildTags are the versions and other builds among the tags of install, release-channel and
// the root: where one of the three is missing, the others still name it.
func buildTags(installs, entries, platforms []string) []string {
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

// isBuild reports whether a tag of install can be that of a build: not that of a channel, an
// image by digest or an attestation.
func isBuild(tag string) bool {
	return !slices.Contains(release.Channels(), tag) && !names.IsDigestTag(tag) && !strings.HasSuffix(tag, ".att")
}

// relevant are the versions that a question is about: those that are asked for, and for an
// upgrade the highest patch of each minor version.
func relevant(here []string, q Question) (tags []string) {
	if len(q.Releases) == 0 {
		return here
	}
	var steps []release.Release
	if q.From != "" {
		steps = release.HighestPatches(release.Stable(here))
	}
	for _, tag := range here {
		asked := slices.ContainsFunc(q.Releases, func(r string) bool { return sameVersion(r, tag) })
		isStep := slices.ContainsFunc(steps, func(r release.Release) bool { return r.Tag == tag && isBetween(r, q) })
		if asked || isStep {
			tags = append(tags, tag)
		}
	}
	return tags
}

// isBetween reports whether a version is above the cluster's and below one that is asked for.
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

// dropDeclaredTags drops what is no version, but an image that a version declares by a tag
// which looks like one: only the root has it.
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

// build gathers the facts of one version of the platform.
func (g *gatherer) build(ctx context.Context, tag string) (Build, error) {
	own := []Image{{Name: "platform image", Repository: rootPath, Reference: tag}, {Name: "installer", Repository: installPath, Reference: tag},
		{Name: "stand-alone installer", Repository: standalonePath, Reference: tag}, {Name: "release-channel entry", Repository: channelsPath, Reference: tag}}
	if err := g.lookAt(ctx, own); err != nil {
		return Build{}, err
	}
	b := Build{Tag: tag, Platform: own[0], Installer: own[1], Standalone: own[2], Entry: own[3]}
	for _, read := range []func(context.Context, *Build) error{g.readInstaller, g.readOwnList, g.readRequirements} {
		if err := read(ctx, &b); err != nil {
			return b, err
		}
	}
	if err := g.lookAt(ctx, b.Declared); err != nil {
		return b, err
	}
	return b, g.lookAt(ctx, b.Own)
}

func (b *Build) unreadable(i Image, why error) {
	b.Unreadable = append(b.Unreadable, Unreadable{i, why.Error()})
}

// readInstaller reads the images that the installer declares.
func (g *gatherer) readInstaller(ctx context.Context, b *Build) error {
	if b.Installer.State != Complete {
		return nil
	}
	files, unreadable, err := g.files(ctx, installPath, b.Tag, release.InstallerTags, release.InstallerDigests)
	if err != nil {
		return err
	}
	images, malformed := release.ParseInstaller(files)
	switch {
	case unreadable != nil:
		b.unreadable(b.Installer, unreadable)
	case malformed != nil:
		b.unreadable(b.Installer, malformed)
	}
	b.Declared = platformImages(images)
	return nil
}

// platformImages are the images that a list of the platform declares, each once.
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

// readOwnList reads the list of images in the image of the platform.
func (g *gatherer) readOwnList(ctx context.Context, b *Build) error {
	if b.Platform.State != Complete || !g.traits().ownList {
		return nil
	}
	files, unreadable, err := g.files(ctx, rootPath, b.Tag, release.PlatformDigests)
	var format *imagefile.FormatError
	switch {
	case err != nil:
		return err
	case errors.As(unreadable, &format): // the image of something else
		b.OwnUnreadable = unreadable.Error()
		return nil
	case unreadable != nil:
		b.unreadable(b.Platform, unreadable)
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

// readRequirements reads what the version requires, from its entry in release-channel.
func (g *gatherer) readRequirements(ctx context.Context, b *Build) error {
	if b.Entry.State != Complete {
		return nil
	}
	files, unreadable, err := g.files(ctx, channelsPath, b.Tag, release.VersionFile)
	if err != nil {
		return err
	}
	requirements, malformed := release.ParseRequirements(files[release.VersionFile])
	switch {
	case unreadable != nil:
		b.unreadable(b.Entry, unreadable)
	case malformed != nil:
		b.unreadable(b.Entry, malformed)
	}
	b.Requirements = requirements
	return nil
}

// findModules finds the modules, and gathers those that are judged: the named ones and those
// that a version requires, or all.
func (g *gatherer) findModules(ctx context.Context, f *Facts) error {
	here, err := g.modules(ctx)
	if err != nil {
		return err
	}
	judged := maps.Clone(g.scope.Modules)
	if judged == nil {
		judged = map[string]release.Selector{}
		for _, name := range here {
			judged[name] = release.Selector{Name: name}
		}
	}
	for _, b := range f.Builds {
		for _, name := range b.Requirements.Modules() {
			if _, known := judged[name]; !known && slices.Contains(here, name) {
				judged[name] = release.Selector{Name: name}
			}
		}
	}
	tags, err := g.tags(ctx, modulesPath)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(judged)) {
		m, err := g.module(ctx, judged[name])
		if err != nil {
			return err
		}
		m.Undiscoverable = !slices.Contains(tags, name)
		f.Modules = append(f.Modules, m)
	}
	hasChannels := slices.ContainsFunc(f.Modules, func(m Module) bool { return len(m.Channels) > 0 })
	if !f.Deckhouse && !hasChannels && g.scope.Modules == nil {
		f.Modules = nil // a tree of something else that has modules
	}
	f.Deckhouse = f.Deckhouse || len(f.Modules) > 0
	return nil
}

// module gathers the facts of a module.
func (g *gatherer) module(ctx context.Context, want release.Selector) (Module, error) {
	at := path.Join(modulesPath, want.Name)
	releases := path.Join(at, "release")
	m := Module{Name: want.Name, Want: want}
	main, err := g.tags(ctx, at)
	if err != nil {
		return m, err
	}
	entries, err := g.tags(ctx, releases)
	if err != nil {
		return m, err
	}
	if m.Channels, err = g.channels(ctx, releases); err != nil {
		return m, err
	}
	m.Tags = versionsIn(slices.Concat(main, entries), m.Channels)
	for _, tag := range g.judgedVersions(m) {
		v, err := g.moduleVersion(ctx, at, releases, tag)
		if err != nil {
			return m, err
		}
		for i := range v.Declared {
			v.Declared[i].Module = want.Name
		}
		v.Image.Module = want.Name
		m.Versions = append(m.Versions, v)
	}
	return m, nil
}

// versionsIn are the versions of a module among tags, and what its channels point at.
func versionsIn(tags []string, channels []Channel) []string {
	var all []string
	for _, tag := range tags {
		if _, isVersion := release.Parse(tag); isVersion {
			all = append(all, tag)
		}
	}
	for _, c := range channels {
		if c.Target != "" {
			all = append(all, c.Target)
		}
	}
	return release.SortTags(all)
}

// judgedVersions are the versions of a module that are judged: those that its constraints
// choose, else those that its channels point at, and in a source all.
func (g *gatherer) judgedVersions(m Module) []string {
	chosen := slices.Concat(m.Want.Ranges, m.Want.Pins)
	return slices.DeleteFunc(slices.Clone(m.Tags), func(tag string) bool {
		switch {
		case len(chosen) > 0 && !m.Want.All:
			return !slices.ContainsFunc(chosen, func(c *release.Constraint) bool { return fits(c, tag) })
		case g.traits().allVersions || len(m.Channels) == 0:
			return false
		}
		return !slices.ContainsFunc(m.Channels, func(c Channel) bool { return c.Target == tag })
	})
}

// moduleVersion gathers the facts of one version of a module.
func (g *gatherer) moduleVersion(ctx context.Context, at, releases, tag string) (v ModuleVersion, err error) {
	v.Tag = tag
	if v.Image, err = g.image(ctx, "version "+tag, at, tag); err != nil {
		return v, err
	}
	if v.Entry, err = g.image(ctx, "release "+tag, releases, tag); err != nil || v.Image.State != Complete {
		return v, err
	}
	files, unreadable, err := g.files(ctx, at, tag, release.ModuleDigests, release.ModuleExtras)
	if err != nil {
		return v, err
	}
	if unreadable != nil {
		v.Unreadable = append(v.Unreadable, Unreadable{v.Image, unreadable.Error()})
	}
	v.declare(at, files)
	return v, g.lookAt(ctx, v.Declared)
}

// declare adds the images that the files of a module's version declare.
func (v *ModuleVersion) declare(at string, files map[string][]byte) {
	for _, list := range []struct {
		file  string
		parse func([]byte) ([]release.Image, error)
		place func(release.Image) string
	}{
		{release.ModuleDigests, release.ParseDigests, func(release.Image) string { return at }},
		{release.ModuleExtras, release.ParseExtraImages, func(i release.Image) string { return path.Join(at, "extra", i.Name) }},
	} {
		if files[list.file] == nil {
			continue
		}
		images, err := list.parse(files[list.file])
		if err != nil {
			v.Unreadable = append(v.Unreadable, Unreadable{v.Image, list.file + ": " + err.Error()})
		}
		for _, i := range slices.Compact(images) {
			v.Declared = append(v.Declared, Image{Name: i.Name, Repository: list.place(i), Reference: i.Reference})
		}
	}
}
