package importer

import (
	"context"
	"errors"
	"path/filepath"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// isReimport reports whether the bundle was already imported: one earlier import stored all of its
// archives, and every tag that differs in the store comes from another archive of that import. Then
// nothing is new: that import copied these archives, which stayed in the bundle, and moved the
// others. A repeated import of the copied ones must not win the tags of the moved ones.
func (p *plan) isReimport(ctx context.Context, archives []*archive) (bool, error) {
	generation := p.session.generationOf(archives)
	if generation == 0 {
		return false, nil
	}
	lost := 0
	for _, r := range p.repositories {
		repo := r.repo
		in, err := p.target.At(r.path)
		if errors.Is(err, layoutstore.ErrRepositoryUnknown) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		tags, _ := repo.Tags("", -1)
		for _, tag := range tags {
			d, err := repo.TagDigest(tag)
			if err != nil {
				return false, err
			}
			switch now, err := in.TagDigest(tag); {
			case err == nil && now == d:
				continue
			case err != nil:
				return false, nil
			}
			if winner, err := p.winnerOf(ctx, in, tag); err != nil || winner != generation {
				return false, err
			}
			lost++
		}
	}
	if lost > 0 {
		p.session.options.Log.Info("tags stay with other archives of the same earlier import", zap.Int("tags", lost), zap.Uint64("generation", generation))
	}
	return true, nil
}

// generationOf returns the generation in which all of the archives were imported packed; 0 if
// there is no such generation.
func (s *session) generationOf(archives []*archive) (generation uint64) {
	for _, a := range archives {
		imported := uint64(0)
		for _, packed := range s.store.State().Packed {
			if a.exists && packed.File == a.name && packed.Retired == nil {
				imported = packed.Generation
			}
		}
		if imported == 0 || generation != 0 && imported != generation {
			return 0
		}
		generation = imported
	}
	return generation
}

// winnerOf returns the generation of the store's archive that a tag comes from; 0 if it comes
// from no archive.
func (p *plan) winnerOf(ctx context.Context, repo *layoutstore.Repository, tag string) (generation uint64, err error) {
	for _, l := range repo.Layouts() { // a later one wins
		entries, err := l.Index(ctx)
		if err != nil {
			return 0, err
		}
		for _, e := range entries {
			if e.Tag != tag {
				continue
			}
			generation = 0
			for _, packed := range p.session.store.State().Packed {
				if packed.File == filepath.Base(l.Volume()) && l.Volume() != p.session.options.Store {
					generation = packed.Generation
				}
			}
		}
	}
	return generation, nil
}
