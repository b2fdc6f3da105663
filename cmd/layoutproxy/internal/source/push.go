package source

import (
	"context"
	"errors"
	"fmt"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/importer/push"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// PlanPush opens the sources and plans a push of them.
func PlanPush(ctx context.Context, s *settings.Selection, cacheDir string, sources []string, to client.Reference) (*layoutstore.Tree, *push.Plan, error) {
	sources, err := s.Sources(sources)
	if err != nil {
		return nil, nil, err
	}
	// The names of the registry, so that whatever is wrong with one is found.
	flags := settings.Tree{Roots: []string{to.Path}, NoEditionSplit: s.Repositories.NoEditionSplit, CacheDir: cacheDir}
	tree, err := Open(ctx, flags.Options(sources))
	if err != nil {
		return nil, nil, err
	}
	snapshot, err := Check(ctx, tree)
	if err != nil {
		return nil, nil, err
	}
	plan, err := push.NewPlan(ctx, snapshot, to, s.Repositories)
	if errors.Is(err, push.ErrName) {
		err = exit.UsageError(exit.WithHint(err, "choose another PATH in REGISTRY/PATH, or leave the repository out with --exclude"))
	}
	return tree, plan, err
}

// PushGaps are what keeps the selected sources from being pushed whole: the problems
// of the tree for which something is missing or wrong, and gaps of the plan that they do not tell.
func PushGaps(s *layoutstore.Snapshot, plan *push.Plan, selection push.Selection) []fmt.Stringer {
	var gaps []fmt.Stringer
	told := map[string]bool{}
	for _, p := range s.Problems() {
		// What concerns no repository concerns all of them.
		if !p.IsFailure() || p.Layout != "" && !selection.Has(p.Layout) {
			continue
		}
		gaps = append(gaps, p)
		if p.Layout != "" {
			told[selection.Name(plan.Destination, p.Layout)] = true
		}
	}
	for _, g := range plan.Gaps {
		if !told[g.Repository] {
			gaps = append(gaps, g)
		}
	}
	return gaps
}
