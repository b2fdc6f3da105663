package deckhouse

import (
	"context"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/layoutstore/edition"
)

// sharedRepository returns the repository of a layout that all editions share. It is beside the
// edition. Without an edition, or with NoEditionSplit, it is below the source. If the target of a
// push is only an edition, such as REGISTRY/ee, the push writes the layout below the edition. For a
// source of this form, sharedRepository also tries the path below the edition.
func (p *planner) sharedRepository(ctx context.Context, at string, isThere func(ctx context.Context, repository string) (bool, error)) (string, error) {
	split := edition.OfSource(p.draft.Root.Path)
	if p.selection.NoEditionSplit {
		split = edition.Unsplit(p.draft.Root.Path)
	}
	name := split.Name(at)
	if split.Parent != "" || !split.IsSplit() {
		return name, nil
	}
	ok, err := isThere(ctx, name)
	if ok || err != nil && !pull.IsRefused(err) {
		return name, err
	}
	other, otherErr := isThere(ctx, split.Alias(at))
	if other || otherErr != nil {
		return split.Alias(at), otherErr
	}
	return name, err
}

// sharedWithTag returns the repository of a shared layout. If two repositories are possible, it
// prefers one that has the tag.
func (p *planner) sharedWithTag(ctx context.Context, at, tag string) (string, error) {
	return p.sharedRepository(ctx, at, func(ctx context.Context, repository string) (bool, error) {
		_, err := p.source.Resolve(ctx, repository, tag)
		if pull.IsAbsent(err) {
			return false, nil
		}
		return err == nil, err
	})
}

// sharedWithList returns the repository of a shared layout. If two repositories are possible, it
// prefers one that has tags.
func (p *planner) sharedWithList(ctx context.Context, at string) (string, error) {
	return p.sharedRepository(ctx, at, func(ctx context.Context, repository string) (bool, error) {
		tags, err := p.source.Tags(ctx, repository)
		if pull.IsAbsent(err) {
			return false, nil
		}
		return len(tags) > 0, err
	})
}

func (p *planner) sharedTags(ctx context.Context, at string) (repository string, tags map[string]bool, err error) {
	if repository, err = p.sharedWithList(ctx, at); err == nil {
		tags, err = p.source.Tags(ctx, repository)
	}
	return repository, tags, err
}
