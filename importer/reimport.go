package importer

import (
	"context"
	"errors"
	"path/filepath"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// isReimport reports whether one earlier import has stored all archives of the bundle, and no tag
// needs to change. An import may copy some archives, which then stay in the bundle, and move the
// others. If the bundle is imported again, only the copied archives are left, and they must not win
// tags from the moved archives. So a tag may differ in the store if it comes from another archive
// of the same earlier import.
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
		p.session.options.Log.Info("the bundle was imported before: tags that another archive of the bundle won stay unchanged", zap.Int("tags", lost), zap.Uint64("generation", generation))
	}
	return true, nil
}

// generationOf returns the generation in which one import stored all of these archives packed, or 0
// if there is none.
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

// winnerOf returns the generation of the stored archive that provides a tag, or 0 if no archive does.
func (p *plan) winnerOf(ctx context.Context, repo *layoutstore.Repository, tag string) (generation uint64, err error) {
	for _, l := range repo.Layouts() { // the last layout with the tag wins
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
