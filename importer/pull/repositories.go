package pull

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// Repositories is a planner that pulls repositories as they are.
type Repositories struct {
	// Paths are relative to the source. "." is the source itself.
	Paths []string
	// Tag is a pattern for tags, as in path.Match. If it is empty, all tags match.
	Tag string
}

// Check implements Planner.
func (r Repositories) Check(source client.Reference) error {
	for _, at := range r.Paths {
		name := source.Repository(strings.TrimSuffix(at, "/"))
		if at == "." {
			name = source.Repository(at)
		}
		if strings.TrimSuffix(at, "/") == "" || !names.IsRepository(name) {
			return Usage("repository %q: malformed repository name %q: write the name relative to %s", at, name, source)
		}
	}
	if _, err := path.Match(r.Tag, ""); err != nil {
		return Usage("malformed tag pattern %q: %v", r.Tag, err)
	}
	return nil
}

// Plan implements Planner.
func (r Repositories) Plan(ctx context.Context, d *Draft) error {
	var paths []string
	for _, at := range r.Paths {
		paths = append(paths, strings.TrimSuffix(at, "/"))
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	if err := d.checkReplaced(paths); err != nil {
		return err
	}
	chosen := 0
	for _, at := range paths {
		n, err := r.plan(ctx, d, at)
		if err != nil {
			return err
		}
		chosen += n
	}
	if chosen == 0 && r.Tag != "" {
		return fmt.Errorf("%s: no tag of %s matches %q", d.Root, strings.Join(paths, ", "), r.Tag)
	}
	return nil
}

// archiveOf returns the name of the archive of a repository.
func archiveOf(at string) string {
	if at == "." {
		return "root.tar"
	}
	return strings.ReplaceAll(at, "/", "_") + ".tar"
}

// checkReplaced fails with ErrUsage if the pull would replace an archive that has other repositories than those
// at paths. For example, the repositories a/b and a_b have archives of the same name.
func (d *Draft) checkReplaced(paths []string) error {
	if d.tree {
		return nil
	}
	for _, at := range paths {
		archive := archiveOf(at)
		for _, other := range d.Source.reusable.LayoutsOf(d.dir, archive) {
			if !slices.Contains(paths, other) {
				return Usage("%s in %s has the repository %s, which this pull would remove from the bundle: add --repository %s, or pull into a different directory", archive, d.dir, other, other)
			}
		}
	}
	return nil
}

// plan plans the matching tags of one repository, and returns their number.
func (r Repositories) plan(ctx context.Context, d *Draft, at string) (int, error) {
	name := d.Root.Repository(at)
	archive := archiveOf(at)
	tags, err := d.Source.Tags(ctx, name)
	if err != nil {
		return 0, err
	}
	rules := Rules{Part: Part{true, "the other images do not need it"}, Platform: d.Platform}
	if r.Tag == "" {
		rules.Empty = KeepEmpty
	}
	l := d.Layout(archive, at, name, rules)
	c := d.Component(at, archive)
	c.Versions = slices.DeleteFunc(sortedKeys(tags), func(tag string) bool {
		matches, _ := path.Match(r.Tag, tag)
		return r.Tag != "" && !matches
	})
	if len(c.Versions) == 0 && r.Tag != "" {
		c.Note("none of its %d tags matches %q", len(tags), r.Tag)
	}
	return len(c.Versions), d.Each(ctx, len(c.Versions), func(ctx context.Context, i int) error {
		_, err := d.Add(ctx, l, c.Versions[i], c.Versions[i])
		return err
	})
}
