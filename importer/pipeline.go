package importer

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// importBundle imports a bundle in three steps: plan, stage, publish.
func (s *session) importBundle(ctx context.Context, b *bundle) (Report, error) {
	report := newReport(s.options.Store, s.store.State().Generation)
	k := &packed{session: s, moves: &moveRecord{}}
	if s.options.KeepPacked {
		if done, err := k.start(ctx, b); done || err != nil {
			return report, err
		}
	}
	p, err := s.plan(ctx, b)
	if err != nil {
		return Report{}, err
	}
	if err := s.store.Sweep(p.wantedBlobs()); err != nil {
		return Report{}, err
	}
	if err := p.checkFreeSpace(); err != nil {
		return Report{}, err
	}
	t := p.newTransfer()
	if err := t.eachContent(ctx, s.options.Jobs, t.stageContent); err != nil {
		return Report{}, err
	}
	var j *journal.Journal
	if s.options.KeepPacked {
		j, err = k.stage(ctx, t, &report)
	} else {
		j, err = t.stageIndexes(ctx, &report)
	}
	if err != nil {
		return Report{}, err
	}
	report.addTransfer(t)
	if err := s.recordSigned(ctx, b); err != nil {
		return Report{}, err
	}
	if j != nil {
		if err := s.store.Publish(ctx, j); err != nil {
			return Report{}, err
		}
		report.Generation, report.Changed = s.store.State().Generation, true
	}
	s.removeMoved(ctx, k.moves, true)
	return report, nil
}

// stageIndexes builds the new indexes of unpacked layouts. It returns the journal to publish, or
// nil if nothing changes.
func (t *transfer) stageIndexes(ctx context.Context, report *Report) (*journal.Journal, error) {
	p := t.plan
	changes, err := p.indexes(ctx, report, p.addDescriptors)
	if err != nil {
		return nil, err
	}
	wanted := p.wantedBlobs()
	if len(p.problems.all) > 0 {
		if err := t.session.store.Sweep(wanted); err != nil {
			return nil, err
		}
	}
	revived := p.revived()
	if len(changes) == 0 && len(wanted) == 0 && len(revived) == 0 {
		return nil, nil
	}
	return &journal.Journal{Generation: report.Generation + 1, Indexes: changes, Revived: revived}, nil
}

// revived returns the manifests of the bundle's complete images that a prune has marked for later
// removal. The import makes the store keep them.
func (p *plan) revived() (all []journal.Pruned) {
	pruned := p.session.target.pruned()
	if len(pruned) == 0 {
		return nil
	}
	for _, r := range p.repositories {
		complete := map[digest.Digest]bool{}
		for _, m := range r.graph.Manifests {
			complete[m.Digest] = p.needed == nil || p.needed[blobName(r.path, m.Digest)]
		}
		for _, x := range pruned {
			if x.Path == r.path && complete[x.Digest] {
				all = append(all, x)
			}
		}
	}
	return all
}
