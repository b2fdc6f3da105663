package source

import (
	"context"
	"errors"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/importer/push"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// PlanPush opens the sources and plans a push of them. flags say where archive indexes are cached
// and how buckets are reached.
func PlanPush(ctx context.Context, s *settings.Selection, flags settings.Tree, sources []string, to client.Reference) (*layoutstore.Tree, *push.Plan, error) {
	sources, err := s.Sources(sources)
	if err != nil {
		return nil, nil, err
	}
	// The names of the registry, so that whatever is wrong with one is found.
	flags.Roots, flags.NoEditionSplit, flags.VerifyKey = []string{to.Path}, s.Repositories.NoEditionSplit, s.VerifyKey
	tree, err := Open(ctx, flags.Options(sources))
	if err != nil {
		return nil, nil, err
	}
	var plan *push.Plan
	err = tree.ReadWith(ctx, func(snapshot *layoutstore.Snapshot) (err error) {
		plan, err = push.NewPlan(ctx, snapshot, to, s.Repositories)
		return err
	})
	if errors.Is(err, push.ErrName) {
		hint := "choose another PATH in REGISTRY/PATH, or leave the repository out with --exclude"
		if to.Path == "" {
			hint = "add the path to the registry: " + to.Registry + "/" + ownRoot(ctx, flags, sources)
		}
		err = exit.UsageError(exit.WithHint(err, hint))
	}
	return tree, plan, err
}

// ownRoot returns the root that a bundle names itself, or that of Deckhouse's most frequent edition.
func ownRoot(ctx context.Context, flags settings.Tree, sources []string) string {
	flags.Roots = []string{layoutstore.AutoRoot}
	if tree, err := Open(ctx, flags.Options(sources)); err == nil {
		for _, root := range tree.Snapshot().Roots() {
			if root != "" {
				return root
			}
		}
	}
	return "deckhouse/ee"
}
