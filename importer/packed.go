package importer

import (
	"context"
	"fmt"
	"slices"

	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// packed places the archives of a bundle without unpacking them: every digest in them is
// proven, then they are linked into the store. Tags that they have with other digests leave
// the loose indexes.
type packed struct {
	session  *session
	archives []*archive
	moves    *moveRecord // of the archives that get a name in the store
}

// start finds the archives. Of those that an interrupted import had moved by half, it moves
// the rest.
func (k *packed) start(ctx context.Context, b *bundle) (done bool, err error) {
	if k.archives, err = k.session.archives(ctx, b); err != nil {
		return false, err
	}
	half, err := k.session.halfMoved(k.archives)
	if err != nil || len(half) == 0 {
		return false, err
	}
	if err := k.recordMoves(ctx, half, k.session.store.State().Generation); err != nil {
		return false, err
	}
	k.finish(ctx)
	k.archives = slices.DeleteFunc(k.archives, func(a *archive) bool { return slices.Contains(half, a) })
	if len(k.archives) == 0 {
		return true, nil
	}
	return false, b.refresh(ctx)
}

// narrow has nothing copied but what the store has wrong in files of its own: they would
// be served before the archive. Wrong copies in other archives are not, as the new one
// comes before them.
func (k *packed) narrow(p *plan) {
	for _, c := range p.contents {
		c.places = nil
		c.existing = slices.DeleteFunc(c.existing, func(e *existingCopy) bool { return e.relies != "" })
	}
}

// proveRest proves all other copies as well: each is served.
func (k *packed) proveRest(ctx context.Context, t *transfer) error { return t.proveSpares(ctx) }

// stage stages the archives, and takes their tags out of the loose indexes.
func (k *packed) stage(ctx context.Context, p *plan, report *Report) (*journal.Journal, error) {
	again, err := p.isReimport(k.archives)
	if err != nil {
		return nil, err
	}
	changes, err := p.indexes(report, func(r repository, m *merging) error { return r.removeTags(m, again, &report.Tags) })
	if err != nil {
		return nil, err
	}
	fresh := slices.ContainsFunc(k.archives, func(a *archive) bool { return !a.exists })
	if report.Tags.New+report.Tags.Replaced+report.Blobs.Repaired == 0 && !fresh {
		// An import may have been killed just before it moved them.
		return nil, k.recordMoves(ctx, k.archives, report.Generation)
	}
	j := &journal.Journal{Generation: report.Generation + 1, Indexes: changes}
	if !again { // else they stay in their generation; something was repaired
		if err := k.stageArchives(ctx, j, report); err != nil {
			return nil, err
		}
	}
	return j, k.recordMoves(ctx, k.archives, j.Generation)
}

func (k *packed) stageArchives(ctx context.Context, j *journal.Journal, report *Report) error {
	for _, a := range k.archives {
		if err := k.session.stageArchive(ctx, a); err != nil {
			return fmt.Errorf("taking in %s: %w", a.set.Path(), err)
		}
		// One that was put there by hand as well: only a generation makes it win its tags.
		j.Packed = append(j.Packed, journal.Packed{File: a.name, Name: a.set.Name, Generation: j.Generation, There: a.exists})
		report.Packed = append(report.Packed, a.name)
		report.Copied = append(report.Copied, a.copied...)
	}
	return nil
}

// recordMoves records which names of archives are about to be removed, after what an
// earlier process has recorded was done.
func (k *packed) recordMoves(ctx context.Context, archives []*archive, generation uint64) (err error) {
	k.session.finishMoves(ctx, true)
	k.moves, err = k.session.recordMoves(archives, generation)
	return err
}

// finish removes the names that the archives had outside of the store.
func (k *packed) finish(ctx context.Context) { k.session.removeMoved(ctx, k.moves, true) }
