// Package source opens the sources of a command and plans pushes of them. Its errors carry
// hints.
package source

import (
	"context"
	"errors"
	"runtime"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// Open scans sources.
func Open(ctx context.Context, options layoutstore.Options) (*layoutstore.Tree, error) {
	tree, err := layoutstore.Open(ctx, options)
	return tree, exit.SourceError(err)
}

// Check checks a tree, and once more if a file changed meanwhile or a cached archive
// index proves wrong.
func Check(ctx context.Context, tree *layoutstore.Tree) (*layoutstore.Snapshot, error) {
	snapshot := tree.Snapshot()
	err := snapshot.Check(ctx, runtime.GOMAXPROCS(0))
	if errors.Is(err, layoutstore.ErrStale) {
		if _, err = tree.Refresh(ctx); err == nil {
			snapshot = tree.Snapshot()
			err = snapshot.Check(ctx, runtime.GOMAXPROCS(0))
		}
	}
	return snapshot, err
}
