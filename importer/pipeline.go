package importer

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// placement is a form in which a store keeps the content of a bundle: unpacked, or in the
// archives of the bundle.
type placement interface {
	// start runs before planning. done reports that nothing is left to import.
	start(ctx context.Context, b *bundle) (done bool, err error)
	// narrow removes from the plan the places that need no copy.
	narrow(p *plan)
	// stage stages everything but the blobs that t has staged, and returns the journal to publish,
	// or nil if there is nothing to publish.
	stage(ctx context.Context, t *transfer, report *Report) (*journal.Journal, error)
	// finish runs after the bundle was published.
	finish(ctx context.Context)
}

func (s *session) placement() placement {
	if s.options.KeepPacked {
		return &packed{session: s}
	}
	return &unpacked{session: s}
}

// importBundle imports a bundle: plan, stage, publish.
func (s *session) importBundle(ctx context.Context, b *bundle) (Report, error) {
	place := s.placement()
	report := newReport(s.options.Store, s.store.State().Generation)
	if done, err := place.start(ctx, b); done || err != nil {
		return report, err
	}
	p, err := s.plan(ctx, b)
	if err != nil {
		return Report{}, err
	}
	place.narrow(p)
	if err := s.store.Sweep(p.wantedBlobs()); err != nil {
		return Report{}, err
	}
	if err := p.checkFreeSpace(); err != nil {
		return Report{}, err
	}
	t := p.newTransfer()
	if err := t.stage(ctx); err != nil {
		return Report{}, err
	}
	j, err := place.stage(ctx, t, &report)
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
	place.finish(ctx)
	return report, nil
}

// unpacked stores each blob in its own file and adds descriptors to indexes of the store.
type unpacked struct{ session *session }

func (u *unpacked) start(context.Context, *bundle) (done bool, err error) { return false, nil }
func (u *unpacked) narrow(*plan)                                          {}
func (u *unpacked) finish(context.Context)                                {}

// stage builds the new indexes.
func (u *unpacked) stage(ctx context.Context, t *transfer, report *Report) (*journal.Journal, error) {
	p := t.plan
	changes, err := p.indexes(ctx, report, p.addDescriptors)
	if err != nil {
		return nil, err
	}
	wanted := p.wantedBlobs()
	if len(p.problems.all) > 0 {
		if err := u.session.store.Sweep(wanted); err != nil {
			return nil, err
		}
	}
	revived := p.revived()
	if len(changes) == 0 && len(wanted) == 0 && len(revived) == 0 {
		return nil, nil
	}
	return &journal.Journal{Generation: report.Generation + 1, Indexes: changes, Revived: revived}, nil
}

// revived returns the manifests of the bundle that a prune was going to remove later.
func (p *plan) revived() (all []journal.Pruned) {
	pruned := p.session.target.pruned()
	if len(pruned) == 0 {
		return nil
	}
	for _, r := range p.repositories {
		inBundle := map[digest.Digest]bool{}
		for _, m := range r.graph.Manifests {
			inBundle[m.Digest] = true
		}
		for _, x := range pruned {
			if x.Path == r.path && inBundle[x.Digest] {
				all = append(all, x)
			}
		}
	}
	return all
}
