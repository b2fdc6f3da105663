package importer

import (
	"context"
	"fmt"
	"slices"

	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// packed imports the archives of a bundle without unpacking them. It proves every digest in them, and
// hard-links or copies them into the store. If an unpacked layout has one of their tags with a different
// digest, packed removes the tag from the layout's index.
type packed struct {
	session  *session
	archives []*archive
	moves    *moveRecord // moves of the archives that are linked into the store
}

// start finds the archives, and completes the moves of an interrupted import. done reports that
// nothing remains to be imported.
func (k *packed) start(ctx context.Context, b *bundle) (done bool, err error) {
	if k.archives, err = k.session.archives(ctx, b); err != nil {
		return false, err
	}
	half, err := k.session.findPartlyMoved(k.archives)
	if err != nil || len(half) == 0 {
		return false, err
	}
	if err := k.recordMoves(ctx, half, k.session.store.State().Generation); err != nil {
		return false, err
	}
	k.session.removeMoved(ctx, k.moves, true)
	k.archives = slices.DeleteFunc(k.archives, func(a *archive) bool { return slices.Contains(half, a) })
	if len(k.archives) == 0 {
		return true, nil
	}
	return false, b.refresh(ctx)
}

// keepRepairs limits staging to repairs of damaged unpacked blobs. Unrepaired, the damaged blobs would
// be served instead of the new archive's blobs. Damaged copies in other archives need no repair: the
// new archive is served instead of them.
func (p *plan) keepRepairs() {
	for _, c := range p.contents {
		c.places = nil
		c.existing = slices.DeleteFunc(c.existing, func(e *existingCopy) bool { return e.relies != "" })
	}
}

// stage proves the copies of blobs that t has not read, because any copy may be served. Then it
// stages the archives, and removes their tags from the indexes of unpacked layouts. It returns the
// journal to publish, or nil if nothing changes.
func (k *packed) stage(ctx context.Context, t *transfer, report *Report) (*journal.Journal, error) {
	if err := t.proveSpares(ctx); err != nil {
		return nil, err
	}
	again, err := t.plan.isReimport(ctx, k.archives)
	if err != nil {
		return nil, err
	}
	changes, err := t.plan.indexes(ctx, report, func(_ context.Context, r repository, m *merging, tags *Tags) error {
		return r.removeTags(m, again, tags)
	})
	if err != nil {
		return nil, err
	}
	fresh := slices.ContainsFunc(k.archives, func(a *archive) bool { return !a.exists })
	revived := t.plan.revived()
	if report.Tags.New+report.Tags.Replaced+t.blobs.Repaired+len(revived) == 0 && !fresh {
		// An import may have been killed right before it moved the archives. So record the moves
		// again.
		return nil, k.recordMoves(ctx, k.archives, report.Generation)
	}
	j := &journal.Journal{Generation: report.Generation + 1, Indexes: changes, Revived: revived}
	if !again { // archives that are imported again keep their generation: only repairs are published
		if err := k.stageArchives(ctx, j, report); err != nil {
			return nil, err
		}
	}
	return j, k.recordMoves(ctx, k.archives, j.Generation)
}

func (k *packed) stageArchives(ctx context.Context, j *journal.Journal, report *Report) error {
	for _, a := range k.archives {
		if err := k.session.stageArchive(ctx, a); err != nil {
			return fmt.Errorf("staging %s: %w", a.set.Path(), err)
		}
		// Add an entry to the journal even if the store already has the archive: an archive without a
		// generation wins no tags.
		j.Packed = append(j.Packed, journal.Packed{File: a.name, Name: a.set.Name, Generation: j.Generation, There: a.exists})
		report.Packed = append(report.Packed, a.name)
		report.Copied = append(report.Copied, a.copied...)
	}
	return nil
}

// recordMoves completes the moves of an earlier process. Then it records the archive names that
// this import will remove.
func (k *packed) recordMoves(ctx context.Context, archives []*archive, generation uint64) (err error) {
	k.session.finishMoves(ctx, true)
	k.moves, err = k.session.recordMoves(archives, generation)
	return err
}
