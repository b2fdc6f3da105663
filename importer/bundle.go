package importer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/fileid"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// bundle is the content that an import reads: one or more sources, merged into one tree.
type bundle struct {
	names    []string
	tree     *layoutstore.Tree
	snapshot *layoutstore.Snapshot
	opened   *fileid.Set // set of the files that the import has opened
}

// openBundle reads the indexes of all layouts in the sources. Discovery tags are disabled, because
// the store synthesizes its own from its paths.
func openBundle(ctx context.Context, sources []string, o Options) (*bundle, error) {
	opened := &fileid.Set{}
	tree, err := layoutstore.Open(ctx, layoutstore.Options{Sources: sources, Indexes: []string{}, CacheDir: o.CacheDir, Buckets: o.readers(), VerifyKey: o.VerifyKey, Opened: opened.Add, Unread: opened.Forget})
	if err != nil {
		return nil, err
	}
	return &bundle{sources, tree, tree.Snapshot(), opened}, nil
}

// importWith imports the bundle by calling do. If the bundle changes meanwhile, or a cached archive
// index is outdated, importWith calls do again.
func (b *bundle) importWith(ctx context.Context, do func(context.Context, *bundle) (Report, error)) (report Report, err error) {
	err = b.tree.ReadWith(ctx, func(s *layoutstore.Snapshot) (err error) {
		b.snapshot = s
		report, err = do(ctx, b)
		return err
	})
	report.Opened = b.opened
	return report, err
}

func (b *bundle) refresh(ctx context.Context) error {
	_, err := b.tree.Refresh(ctx)
	b.snapshot = b.tree.Snapshot()
	return err
}

// problems lists problems of the bundle without reading its blobs. It skips harmless problems, and conflicts,
// because the later archive wins. Errors come from ctx and from reading an inventory.
func (b *bundle) problems(ctx context.Context, s *session) (*problemList, error) {
	g := &problemList{}
	found, err := b.snapshot.Problems(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range found {
		moved, err := s.hasMoved(ctx, p)
		if err != nil {
			return nil, err
		}
		if p.IsFailure() && !moved && !p.IsUnnamedRoot() { // the server of the store chooses a name for the root layout
			g.add(p)
		}
	}
	for _, at := range b.snapshot.Paths() {
		if isReserved(at) {
			g.add(layoutstore.Problem{Kind: layoutstore.IllegalName, Path: b.names[0], Repository: at,
				Reason: "the path contains a name that is reserved for the files of a layout: index.json, oci-layout or blobs"})
		}
	}
	if len(b.snapshot.Paths()) == 0 && len(g.all) == 0 {
		g.add(layoutstore.Problem{Kind: layoutstore.Incomplete, Path: strings.Join(b.names, " "), Reason: "contains no image layout and no archive"})
	}
	return g, nil
}

// isReserved reports whether a segment of the path is a name that layouts use for their files.
func isReserved(at string) bool {
	return slices.ContainsFunc(strings.Split(at, "/"), func(segment string) bool {
		return segment == "blobs" || segment == "index.json" || segment == "oci-layout"
	})
}

// maxTags is the maximum number of tags that a problem lists.
const maxTags = 1000

// problemList collects at most maxProblems problems of a bundle.
type problemList struct {
	all  []layoutstore.Problem
	more bool
}

func (g *problemList) add(p layoutstore.Problem) {
	switch {
	case len(g.all) < maxProblems:
		g.all = append(g.all, p.Bounded(maxTags))
	case !g.more:
		g.more = true
		g.all = append(g.all, layoutstore.Problem{Kind: p.Kind, Path: p.Path, Reason: fmt.Sprintf("more than %d problems: the rest is not listed", maxProblems)})
	}
}

// bundleCopy is the copy of a blob in one layout of the bundle.
type bundleCopy struct {
	layout layoutstore.Layout
	size   int64 // bytes
}

// missingReason is the reason that a problem gives for a missing blob if no other reason is known.
const missingReason = problem.Missing

// findCopies returns the copies of a blob that have one of the given sizes, those in later layouts
// first. If no copy has such a size, it returns a problem instead. Its only errors are the cause of
// ctx and errors that layoutstore.IsExhausted reports.
func findCopies(ctx context.Context, repo *layoutstore.Repository, d digest.Digest, sizes []int64) (copies []bundleCopy, problem *layoutstore.Problem, err error) {
	problem = &layoutstore.Problem{Kind: layoutstore.Incomplete, Digest: d, Reason: missingReason}
	layouts := repo.Layouts()
	if len(layouts) > 0 {
		problem.Path, problem.Entry = layouts[len(layouts)-1].WhereBlob(d)
	}
	for _, l := range slices.Backward(layouts) {
		where, err := l.Locate(ctx, d)
		var refused *layoutstore.ProblemError
		switch {
		case layoutstore.IsExhausted(err), err != nil && ctx.Err() != nil:
			return nil, nil, err
		case errors.As(err, &refused):
			*problem = refused.Problem
			problem.Path, problem.Entry = l.WhereBlob(d)
			continue
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err == nil && slices.Contains(sizes, where.Size()):
			copies = append(copies, bundleCopy{l, where.Size()})
			continue
		case err == nil:
			err = fmt.Errorf("%d bytes, the descriptor says %d", where.Size(), sizes[0])
		}
		*problem = layoutstore.Problem{Kind: layoutstore.Damaged, Digest: d, Reason: err.Error(), Transient: layoutstore.IsTransient(err)}
		problem.Path, problem.Entry = l.WhereBlob(d)
	}
	if len(copies) > 0 {
		problem = nil
	}
	return copies, problem, nil
}

// manifestProblem returns the problem to report for a manifest that cannot be read.
func manifestProblem(repo *layoutstore.Repository, m *closure.Manifest) layoutstore.Problem {
	p := layoutstore.Problem{Kind: layoutstore.Damaged, Digest: m.Digest, Reason: m.Unavailable.Error(), Transient: layoutstore.IsTransient(m.Unavailable)}
	var refused *layoutstore.ProblemError
	if errors.As(m.Unavailable, &refused) {
		p = refused.Problem
	}
	return withPlace(repo, p)
}

// damaged returns the problem to report for a damaged blob in a repository.
func damaged(repo *layoutstore.Repository, tags []string, d digest.Digest, reason string) layoutstore.Problem {
	return inRepository(repo, tags, withPlace(repo, layoutstore.Problem{Kind: layoutstore.Damaged, Digest: d, Reason: reason}))
}

// withPlace adds the blob's place to a problem without a place. The place is the blob's path in the
// last layout of the repository.
func withPlace(repo *layoutstore.Repository, p layoutstore.Problem) layoutstore.Problem {
	if layouts := repo.Layouts(); p.Path == "" && len(layouts) > 0 {
		p.Path, p.Entry = layouts[len(layouts)-1].WhereBlob(p.Digest)
	}
	return p
}

// inRepository adds the repository and the tags to a problem.
func inRepository(repo *layoutstore.Repository, tags []string, p layoutstore.Problem) layoutstore.Problem {
	p.Repository, p.Tags = repo.Path(), tags
	return p
}
