// Package source opens the sources of a command and plans pushes of them. Its errors have hints.
package source

import (
	"context"
	"runtime"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
)

// Open scans sources.
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

// Check checks a tree, and returns the snapshot that it checked.
func Check(ctx context.Context, tree *layoutstore.Tree) (snapshot *layoutstore.Snapshot, err error) {
	err = tree.ReadWith(ctx, func(s *layoutstore.Snapshot) error {
		snapshot = s
		return s.Check(ctx, runtime.GOMAXPROCS(0))
	})
	return snapshot, err
}
