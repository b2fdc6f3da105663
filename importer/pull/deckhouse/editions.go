package deckhouse

import (
	"context"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/layoutstore/edition"
)

// shared is the repository of a layout that all editions share: beside the edition, or
// where there is no split, below the source. Nothing is before an edition that is the
// whole path, so a push to such a target does not split: what it wrote is below the
// edition, and a pull looks there too if the registry itself does not have it.
func (p *planner) shared(ctx context.Context, at string, isThere func(ctx context.Context, repository string) (bool, error)) (string, error) {
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

// sharedWith is the repository of a shared layout that has a tag.
func (p *planner) sharedWith(ctx context.Context, at, tag string) (string, error) {
	return p.shared(ctx, at, func(ctx context.Context, repository string) (bool, error) {
		_, err := p.source.Resolve(ctx, repository, tag)
		if pull.IsAbsent(err) {
			return false, nil
		}
		return err == nil, err
	})
}

// sharedListed is the repository of a shared layout that lists tags.
func (p *planner) sharedListed(ctx context.Context, at string) (string, error) {
	return p.shared(ctx, at, func(ctx context.Context, repository string) (bool, error) {
		tags, err := p.source.Tags(ctx, repository)
		if pull.IsAbsent(err) {
			return false, nil
		}
		return len(tags) > 0, err
	})
}
