package ready

import (
	"context"
	"maps"
	"path"
	"slices"

	"github.com/layoutproxy/layoutproxy/importer/release"
)

// findModules gathers the facts of the modules to judge. If the scope names modules, these are the named
// modules and those that a version requires. Otherwise, these are all modules.
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
		m, err := g.versioned(ctx, path.Join(modulesPath, name), "release", judged[name])
		if err != nil {
			return err
		}
		m.Undiscoverable = !slices.Contains(tags, name)
		f.Modules = append(f.Modules, m)
	}
	hasChannels := slices.ContainsFunc(f.Modules, func(m Module) bool { return len(m.Channels) > 0 })
	if !f.Deckhouse && !hasChannels && g.scope.Modules == nil {
		f.Modules = nil // repositories below the path modules do not suffice for a bundle of Deckhouse
	}
	f.Deckhouse = f.Deckhouse || len(f.Modules) > 0
	return nil
}

// versioned gathers the facts of the module or package at a path. The repository with its release
// channels is entryPath, relative to this path.
func (g *gatherer) versioned(ctx context.Context, at, entryPath string, want release.Selector) (Module, error) {
	defer g.forget() // free memory, because no other module or package uses these repositories
	releases := path.Join(at, entryPath)
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

// versionsIn returns the versions of a module: those among its tags, and those to which its channels point.
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

// judgedVersions returns the versions of a module to judge: those that its constraints select. Without
// constraints, it returns all versions in sources, but in a registry only those to which the module's
// channels point, if it has any.
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
	return v, g.checkAll(ctx, v.Declared)
}

// declare adds the images that files in the module's image declare.
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
