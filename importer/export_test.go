package importer

import (
	"context"
	"io/fs"

	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// Before has f called before each change of the store, with what will be done. Its
// error is that of the change.
func (i *Importer) Before(f func(op, path string) error) { i.before = f }

// Facts are what decides whether a file may be linked into a store.
type Facts = inodeFacts

// InodeFacts makes some.
func InodeFacts(symlink bool, links uint64, mode, own fs.FileMode, foreign bool) Facts {
	return inodeFacts{symlink, links, mode, own, foreign}
}

// WhyCopy says why a file is copied.
func WhyCopy(f Facts) string { return whyCopy(f) }

// Names is how many names a file has.
func Names(info fs.FileInfo) uint64 {
	links, _ := ownership(info)
	return links
}

// Publish publishes a journal that no bundle led to.
func (i *Importer) Publish(ctx context.Context, j *journal.Journal) error {
	s, err := i.open(ctx, i.turn)
	if err != nil {
		return err
	}
	defer s.close()
	return s.publish(ctx, j)
}

// LimitFiles has a dropped directory of more files be too large.
func (d *Drop) LimitFiles(n int) { d.maxFiles = n }
