// Package source opens the sources of a command, and plans pushes of them. Errors that a user can
// fix have a hint.
package source

import (
	"context"
	"errors"
	"runtime"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/importer/push"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// Open opens sources and scans them.
func Open(ctx context.Context, options layoutstore.Options) (*layoutstore.Tree, error) {
	for _, name := range options.Sources {
		if !bucket.IsPlace(name) {
			continue
		}
		if _, err := settings.ParsePlace(name); err != nil {
			return nil, err
		}
	}
	tree, err := layoutstore.Open(ctx, options)
	return tree, exit.SourceError(err)
}

// Check checks the current snapshot of a tree, and returns that snapshot.
func Check(ctx context.Context, tree *layoutstore.Tree) (snapshot *layoutstore.Snapshot, err error) {
	err = tree.ReadWith(ctx, func(s *layoutstore.Snapshot) error {
		snapshot = s
		return s.Check(ctx, runtime.GOMAXPROCS(0))
	})
	return snapshot, err
}

// PlanPush opens the sources and plans a push of them to a registry. flags set the cache directory
// and the object store; s selects what is pushed.
func PlanPush(ctx context.Context, s *settings.Selection, flags settings.Tree, sources []string, to client.Reference) (*layoutstore.Tree, *push.Plan, error) {
	sources, err := s.Sources(sources)
	if err != nil {
		return nil, nil, err
	}
	// The tree gets the names that the repositories will have in the registry, so that the plan
	// finds illegal names.
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
		hint := "choose another PATH in REGISTRY/PATH, or skip the repository with --exclude"
		if to.Path == "" {
			hint = "add a path to the name of the registry: " + to.Registry + "/" + ownRoot(ctx, flags, sources)
		}
		err = exit.UsageError(exit.WithHint(err, hint))
	}
	return tree, plan, err
}

// ownRoot returns the root that the references in a bundle name. If there is none, it returns the
// root of Deckhouse's most common edition.
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
