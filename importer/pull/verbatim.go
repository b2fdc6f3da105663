package pull

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
)

// verbatim plans repositories as they are.
func (p *planner) verbatim(ctx context.Context) error {
	repositories := slices.Clone(p.Repositories)
	slices.Sort(repositories)
	chosen := 0
	for _, r := range slices.Compact(repositories) {
		n, err := p.repository(ctx, r)
		if err != nil {
			return err
		}
		chosen += n
	}
	if chosen == 0 && p.Tag != "" {
		return fmt.Errorf("%s: no tag of %s is like %q", p.Source, strings.Join(repositories, ", "), p.Tag)
	}
	return nil
}

// repository plans the tags of one repository, and says how many.
func (p *planner) repository(ctx context.Context, relative string) (int, error) {
	name := p.Source.Repository(relative)
	archive := strings.ReplaceAll(relative, "/", "_") + ".tar"
	if relative == "." {
		archive = "root.tar"
	}
	tags, err := p.src.tags(ctx, name)
	if err != nil {
		return 0, err
	}
	var chosen []string
	for _, tag := range sorted(tags) {
		if ok, _ := path.Match(p.Tag, tag); ok || p.Tag == "" {
			chosen = append(chosen, tag)
		}
	}
	l := p.layout(archive, relative, name)
	c := p.component(relative, archive)
	c.Versions = chosen
	if len(chosen) == 0 && p.Tag != "" {
		c.note("none of its %d tags is like %q", len(tags), p.Tag)
	}
	return len(chosen), p.each(ctx, len(chosen), func(ctx context.Context, i int) error {
		_, err := p.add(ctx, l, chosen[i], chosen[i])
		return err
	})
}
