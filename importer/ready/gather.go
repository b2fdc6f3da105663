package ready

import (
	"context"
	"path"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/importer/release"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// Paths of repositories below the root, in a bundle and in a registry.
const (
	rootPath       = "."
	installPath    = "install"
	standalonePath = "install-standalone"
	channelsPath   = "release-channel"
	modulesPath    = "modules"
	packagesPath   = "packages"
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
	// tags of a repository; nil where there is no such repository.
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

// channels returns the release channels of a repository that are there, in their order.
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
