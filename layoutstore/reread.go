package layoutstore

import (
	"context"
	"errors"
)

// ReadWith reads the current snapshot with read. If that finds that a file changed since the last
// scan, or that a cached archive index is wrong, it rescans, and reads once more from the start.
// Errors: those of read; those of [Tree.Refresh].
func (t *Tree) ReadWith(ctx context.Context, read func(*Snapshot) error) error {
	err := read(t.Snapshot())
	if !errors.Is(err, ErrStale) {
		return err
	}
	if _, err := t.Refresh(ctx); err != nil {
		return err
	}
	return read(t.Snapshot())
}
