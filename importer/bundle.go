package importer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/fileid"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// bundle is what is imported: one or more sources as one tree.
type bundle struct {
	names    []string
	tree     *layoutstore.Tree
	snapshot *layoutstore.Snapshot
}

// openBundle reads the indexes of the bundles, and adds the files that are read to opened.
// A bundle has no discovery tags: those of the store follow from the paths in it.
func openBundle(ctx context.Context, sources []string, o Options, opened *fileid.Set) (*bundle, error) {
	tree, err := layoutstore.Open(ctx, layoutstore.Options{Sources: sources, Indexes: []string{}, CacheDir: o.CacheDir, Opened: opened.Add, Unread: opened.Forget})
	if err != nil {
		return nil, err
	}
	return &bundle{sources, tree, tree.Snapshot()}, nil
}

// refresh reads what changed since.
func (b *bundle) refresh(ctx context.Context) error {
	_, err := b.tree.Refresh(ctx)
	b.snapshot = b.tree.Snapshot()
	return err
}

// problems are what a look at the bundle finds wrong, without its content. Conflicts are
// none: the later archive wins. Nor are problems for which nothing is missing.
func (b *bundle) problems() *problemList {
	g := &problemList{}
	var root [2]string // where the root layout lies
	if r, err := b.snapshot.At("."); err == nil {
		if layouts := r.Layouts(); len(layouts) > 0 {
			root[0], root[1] = layouts[len(layouts)-1].Where()
		}
	}
	for _, p := range b.snapshot.Problems() {
		nameless := p.Kind == layoutstore.IllegalName && p.Repository == "" && [2]string{p.Path, p.Entry} == root
		if p.IsFailure() && !nameless { // a root layout gets its name from who serves it
			g.add(p)
		}
	}
	for _, at := range b.snapshot.Paths() {
		if reserved(at) {
			g.add(layoutstore.Problem{Kind: layoutstore.IllegalName, Path: b.names[0], Repository: at,
				Reason: "the path has a segment that is a file of layouts: index.json, oci-layout or blobs"})
		}
	}
	if len(b.snapshot.Paths()) == 0 && len(g.all) == 0 {
		g.add(layoutstore.Problem{Kind: layoutstore.Incomplete, Path: strings.Join(b.names, " "), Reason: "no image layout and no archive in it"})
	}
	return g
}

// reserved says whether a layout at the path would lie in another one's files.
func reserved(at string) bool {
	return slices.ContainsFunc(strings.Split(at, "/"), func(segment string) bool {
		return segment == "blobs" || segment == "index.json" || segment == "oci-layout"
	})
}

// maxTags is how many tags of one problem are listed.
const maxTags = 1000

// problemList collects what is wrong with a bundle.
type problemList struct {
	all  []layoutstore.Problem
	more bool
}

func (g *problemList) add(p layoutstore.Problem) {
	switch {
	case len(g.all) < maxGaps:
		g.all = append(g.all, p.Bounded(maxTags))
	case !g.more:
		g.more = true
		g.all = append(g.all, layoutstore.Problem{Kind: p.Kind, Path: p.Path, Reason: fmt.Sprintf("more than %d gaps: the rest is not listed", maxGaps)})
	}
}

func (g *problemList) err() error {
	if len(g.all) == 0 {
		return nil
	}
	return &GapError{g.all}
}

// bundleCopy is a blob in one layout of the bundle.
type bundleCopy struct {
	layout layoutstore.Layout
	size   int64 // bytes
}

// notThere is the reason of a gap that nothing is known of but that.
const notThere = "not there"

// findCopies finds the copies of a blob that have one of the sizes, those of later layouts
// first, or says why there is none. The error is one that layoutstore.Exhausted knows.
func findCopies(repo *layoutstore.Repository, d digest.Digest, sizes []int64) (copies []bundleCopy, lack *layoutstore.Problem, err error) {
	lack = &layoutstore.Problem{Kind: layoutstore.Incomplete, Digest: d, Reason: notThere}
	layouts := repo.Layouts()
	if len(layouts) > 0 {
		lack.Path, lack.Entry = blobPlace(layouts[len(layouts)-1], d)
	}
	for _, l := range slices.Backward(layouts) {
		where, err := l.Locate(d)
		var lost *layoutstore.ProblemError
		switch {
		case layoutstore.IsExhausted(err):
			return nil, nil, err
		case errors.As(err, &lost):
			*lack = lost.Problem
			lack.Path, lack.Entry = blobPlace(l, d)
			continue
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err == nil && slices.Contains(sizes, where.Size()):
			copies = append(copies, bundleCopy{l, where.Size()})
			continue
		case err == nil:
			err = fmt.Errorf("%d bytes, the descriptor says %d", where.Size(), sizes[0])
		}
		*lack = layoutstore.Problem{Kind: layoutstore.Damaged, Digest: d, Reason: err.Error(), Transient: layoutstore.IsTransient(err)}
		lack.Path, lack.Entry = blobPlace(l, d)
	}
	if len(copies) > 0 {
		lack = nil
	}
	return copies, lack, nil
}

// blobPlace is where a person would look for a blob.
func blobPlace(l layoutstore.Layout, d digest.Digest) (file, entry string) {
	file, entry = l.Where()
	name := names.BlobPath(d)
	if entry == "" {
		return path.Join(file, name), ""
	}
	return file, path.Join(entry, name)
}

// manifestProblem is the problem of a manifest that cannot be had.
func manifestProblem(repo *layoutstore.Repository, m *closure.Manifest) layoutstore.Problem {
	p := layoutstore.Problem{Kind: layoutstore.Damaged, Digest: m.Digest, Reason: m.Gap.Error(), Transient: layoutstore.IsTransient(m.Gap)}
	var refused *layoutstore.ProblemError
	if errors.As(m.Gap, &refused) {
		p = refused.Problem
	}
	return withPlace(repo, p)
}

// withPlace gives a problem the place of the repository's last layout where it has none.
func withPlace(repo *layoutstore.Repository, p layoutstore.Problem) layoutstore.Problem {
	if layouts := repo.Layouts(); p.Path == "" && len(layouts) > 0 {
		p.Path, p.Entry = blobPlace(layouts[len(layouts)-1], p.Digest)
	}
	return p
}

// of names whose problem it is.
func inRepository(repo *layoutstore.Repository, tags []string, p layoutstore.Problem) layoutstore.Problem {
	p.Repository, p.Tags = repo.Path(), tags
	return p
}
