package pull

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// verify reads the archives of the plan as a server would, before they are published. The
// index.json of each layout must list all images planned for it. Every blob that these images refer
// to must exist.
func (r *run) verify(ctx context.Context) error {
	r.watch.Phase("verifying", 0)
	// Remove archives that another pull has staged. They are not part of this publication.
	if err := r.work.publisher.KeepStaged(r.changes.Place); err != nil {
		return err
	}
	var sources []string
	for _, a := range r.plan.Archives {
		source := r.work.publisher.Staged()
		if slices.Contains(r.kept, a.Name) {
			// The name of one chunk is enough for the complete chunk set.
			source = filepath.Join(r.options.Dir, r.form.Files(a)[0].Name)
		}
		sources = appendNew(sources, source)
	}
	if len(sources) == 0 {
		return nil
	}
	return r.compare(ctx, sources)
}

// verifyRoot is the root under which verify and compare serve the plan's layouts.
const verifyRoot = "root"

// compare serves the sources like a server, and compares the content with the plan. For a tree, it ignores
// archives in the same directory, because this pull has not written them.
func (r *run) compare(ctx context.Context, sources []string) error {
	tree, err := layoutstore.Open(ctx, layoutstore.Options{Sources: sources, Roots: []string{verifyRoot}, Indexes: []string{}, IgnoreInventory: true, TreesOnly: r.options.Tree})
	if err != nil {
		return err
	}
	s := tree.Snapshot()
	if err := s.Check(ctx, r.options.Jobs); err != nil {
		return err
	}
	ours := map[string]bool{}
	for _, l := range bundle.MergeLayouts(r.plan.Archives) {
		ours[servedName(l)] = true
	}
	var problems []Problem
	found, err := s.Problems(ctx)
	if err != nil {
		return err
	}
	for _, p := range found {
		if p.Kind != layoutstore.Conflict && (ours[p.Repository] || !r.options.Tree) {
			p.Reason = fmt.Sprintf("the pull wrote this content, but it cannot be served: %s: %s: %s", p.Kind, p.Path, p.Reason)
			problems = append(problems, Problem{Problem: p})
		}
	}
	for _, a := range r.plan.Archives {
		for _, l := range a.Layouts {
			missing, err := missingImages(ctx, s, l)
			if err != nil {
				return err
			}
			problems = append(problems, missing...)
		}
	}
	return Incomplete(problems)
}

// servedName returns the repository name under which verify and compare serve a layout.
func servedName(l *bundle.Layout) string {
	if l.Path == "." {
		return verifyRoot
	}
	return verifyRoot + "/" + l.Path
}

// missingImages returns a problem for each image of a layout that a snapshot does not serve as
// planned. Its only error is the cause of ctx.
func missingImages(ctx context.Context, s *layoutstore.Snapshot, l *bundle.Layout) (problems []Problem, err error) {
	repo, err := s.Repository(servedName(l))
	if err != nil {
		return []Problem{newMissing(l.Repository, "", err.Error())}, nil
	}
	for _, i := range l.Images {
		_, err := repo.Manifest(ctx, i.Digest)
		if err == nil && i.Tag != "" {
			var d digest.Digest
			if d, err = repo.TagDigest(i.Tag); err == nil && d != i.Digest {
				err = fmt.Errorf("the tag leads to %s", d)
			}
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			problems = append(problems, newImageProblem(layoutstore.Damaged, l.Repository, i, err.Error()))
		}
	}
	return problems, nil
}
