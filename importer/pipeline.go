package importer

import (
	"context"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// take makes a bundle part of the store.
func (s *session) take(ctx context.Context, b *bundle) (Report, error) {
	v, err := s.survey(ctx, b)
	if err != nil {
		return Report{}, err
	}
	if err := v.gaps.err(); err != nil && !s.options.AllowIncomplete {
		return Report{}, err
	}
	if err := v.findHeld(ctx); err != nil {
		return Report{}, err
	}
	if err := s.store.Sweep(v.wantedBlobs()); err != nil {
		return Report{}, err
	}
	if err := v.enoughRoom(); err != nil {
		return Report{}, err
	}
	report := Report{Store: s.options.Store, Generation: s.store.State().Generation}
	if report.Blobs, err = v.stage(ctx); err != nil {
		return Report{}, err
	}
	changes, err := v.indexes(ctx, &report)
	if err != nil {
		return Report{}, err
	}
	report.Gaps = append([]layoutstore.Problem{}, v.gaps.all...)
	report.NonDistributable = append([]layoutstore.Problem{}, v.nonDistributable.all...)
	wanted := v.wantedBlobs()
	if len(v.gaps.all) > 0 {
		if err := s.store.Sweep(wanted); err != nil {
			return Report{}, err
		}
	}
	if len(changes) == 0 && len(wanted) == 0 {
		return report, nil
	}
	if err := s.store.Publish(ctx, &journal.Journal{Generation: s.store.State().Generation + 1, Indexes: changes}); err != nil {
		return Report{}, err
	}
	report.Generation, report.Changed = s.store.State().Generation, true
	return report, nil
}
