package ready

import (
	"context"
	"path"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/importer/release"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// Paths of repositories below the root of a bundle or registry.
const (
	rootPath       = "."
	installPath    = "install"
	standalonePath = "install-standalone"
	channelsPath   = "release-channel"
	modulesPath    = "modules"
	packagesPath   = "packages"
	databasesPath  = "security"
)

// Scope says which facts to gather.
type Scope struct {
	Question
	// Modules has the modules to judge, by name; nil means all available modules.
	Modules map[string]release.Selector
	// Deep means that every blob is read to verify its digest.
	Deep bool
}

// content gives access to the content of sources or of a registry. Up to traits().parallel goroutines may
// call its methods at the same time. An error ends the work. Missing or damaged content is no error, but a
// fact to report.
type content interface {
	// tags returns the tags of a repository, or nil if there is no such repository.
	tags(ctx context.Context, path string) ([]string, error)
	// check checks whether an image is complete.
	check(ctx context.Context, path, reference string) (Presence, error)
	// files reads files from the layers of a complete image. unreadable says why they cannot be read, for
	// example with an *imagefile.FormatError if the layers are not tar files.
	files(ctx context.Context, path, reference string, names ...string) (files map[string][]byte, unreadable, err error)
	// modules returns the names of all modules.
	modules(ctx context.Context) ([]string, error)
	// hidden returns the problems that may hide tags.
	hidden() []problem.Problem
	// forget may drop cached results to save memory.
	forget()

	traits() traits
}

// traits are the differences between sources and a registry that matter to a gatherer.
type traits struct {
	parallel int // maximum number of concurrent calls

	// If allVersions is set, all versions of a module are judged. Otherwise, only versions to which
	// release channels point are judged, because a registry may have hundreds of versions.
	allVersions bool
	// If ownList is set, the platform image's own list of images is read. This requires reading its layers.
	ownList bool
}

func gather(ctx context.Context, from content, s Scope) (Facts, error) {
	g := &gatherer{from, s}
	var f Facts
	var err error
	if f.Channels, err = g.channels(ctx, channelsPath); err != nil {
		return f, err
	}
	if err := g.builds(ctx, &f); err != nil {
		return f, err
	}
	g.forget()
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
	return f, g.checkAll(ctx, f.Databases)
}

type gatherer struct {
	content
	scope Scope
}

// checkAll checks images concurrently, and sets the Presence of each.
func (g *gatherer) checkAll(ctx context.Context, images []Image) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(g.traits().parallel, 1))
	for i := range images {
		group.Go(func() (err error) {
			images[i].Presence, err = g.check(ctx, images[i].Repository, images[i].Reference)
			return err
		})
	}
	return group.Wait()
}

func (g *gatherer) image(ctx context.Context, name, path, reference string) (Image, error) {
	all := []Image{{Name: name, Repository: path, Reference: reference}}
	err := g.checkAll(ctx, all)
	return all[0], err
}

// channels returns the release channels in a repository, in the order of release.Channels.
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

// readChannel finds out to which version a release channel points.
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
