package push

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

type source struct {
	path  string
	repo  *layoutstore.Repository
	audit *layoutstore.Audit
	// selected means that the repository itself is selected. Otherwise, only its discovery tags for
	// selected repositories are pushed.
	selected bool
	// problems are the problems that keep content from being pushed, in a fixed order. byDigest
	// contains the first problem of each digest.
	problems []layoutstore.Problem
	byDigest map[digest.Digest]layoutstore.Problem

	intact []*closure.Manifest // intact manifests in the order of the graph, including discovery images

	leftOut []layoutstore.Problem // why all other manifests cannot be pushed
}

// newSource audits a repository. Its errors are those of layoutstore.Snapshot's AuditWith.
func newSource(ctx context.Context, tree *layoutstore.Snapshot, path string, selected bool) (*source, error) {
	repo, err := tree.At(path)
	if err != nil {
		return nil, err
	}
	src := &source{path: path, repo: repo, selected: selected, byDigest: map[digest.Digest]layoutstore.Problem{}}
	var found []layoutstore.Problem
	src.audit, err = tree.AuditWith(ctx, path, layoutstore.Findings{Problem: func(p layoutstore.Problem) { found = append(found, p) }})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, problem.Compare)
	for _, p := range found {
		if src.audit.IsHarmless(p) {
			continue
		}
		src.problems = append(src.problems, p)
		if _, ok := src.byDigest[p.Digest]; !ok {
			src.byDigest[p.Digest] = p
		}
	}
	return src, nil
}

// sort finds the manifests that are intact, and those that have a problem or lead to one. If
// ordinary is false, it considers only the images of discovery tags.
func (s *source) sort(ordinary bool) {
	broken := map[digest.Digest]layoutstore.Kind{}
	for _, m := range s.audit.Graph.Manifests {
		if !ordinary && !s.repo.IsDiscovery(m.Digest) {
			continue
		}
		if left, ok := s.findProblem(m, broken); ok {
			broken[m.Digest] = left.Kind
			s.leftOut = append(s.leftOut, left)
			continue
		}
		s.intact = append(s.intact, m)
	}
}

// maxProblems is the maximum number of problems that are listed per repository.
const maxProblems = 1000

// problems lists the problems because of which the selected sources cannot be pushed completely. A
// problem without a layout concerns all repositories.
func (p *planning) problems(scan []layoutstore.Problem, sources []*source) {
	for _, found := range scan {
		if found.IsFailure() && (found.Layout == "" || p.selection.Has(found.Layout)) {
			p.plan.Problems = append(p.plan.Problems, found)
		}
	}
	for _, src := range sources {
		if !src.selected {
			continue
		}
		p.plan.Problems = append(p.plan.Problems, src.problems[:min(maxProblems, len(src.problems))]...)
		if more := len(src.problems) - maxProblems; more > 0 {
			first := src.problems[0]
			p.plan.Problems = append(p.plan.Problems, layoutstore.Problem{Kind: first.Kind, Path: first.Path, Repository: first.Repository, Layout: src.path,
				Reason: fmt.Sprintf("%d more problems are not listed", more)})
		}
	}
	slices.SortStableFunc(p.plan.Problems, problem.Compare)
}

// Failures returns all reasons why the selected sources cannot be pushed completely: the problems,
// and the left-out manifests of repositories without problems.
func (p *Plan) Failures(s Selection) []layoutstore.Problem {
	all := slices.Clone(p.Problems)
	explained := map[string]bool{}
	for _, found := range p.Problems {
		if found.Layout != "" {
			explained[s.Name(p.Destination, found.Layout)] = true
		}
	}
	for _, left := range p.LeftOut {
		if !explained[left.Repository] {
			all = append(all, left)
		}
	}
	return all
}

func (s *source) blob(d digest.Digest) (*Blob, bool) {
	if s.repo.IsDiscovery(d) {
		return s.discoveryBlob(d)
	}
	layout, size, ok := s.audit.ServedCopy(d)
	if !ok {
		return nil, false
	}
	return &Blob{Digest: d, Size: size, open: func(ctx context.Context) (io.ReadSeekCloser, error) {
		where, err := layout.Locate(ctx, d)
		if err != nil {
			return nil, err
		}
		if where.Size() != size {
			return nil, fmt.Errorf("blob %s has %d bytes, but had %d when the push was planned: %w", d, where.Size(), size, layoutstore.ErrStale)
		}
		return where.Open(ctx)
	}}, true
}

// discoveryBlob returns a blob of a synthesized image of a discovery tag.
func (s *source) discoveryBlob(d digest.Digest) (*Blob, bool) {
	content, ok := s.repo.DiscoveryContent(d)
	return &Blob{Digest: d, Size: int64(len(content)), open: func(context.Context) (io.ReadSeekCloser, error) {
		return struct {
			io.ReadSeeker
			io.Closer
		}{bytes.NewReader(content), io.NopCloser(nil)}, nil
	}}, ok
}

// findProblem returns the problem because of which a manifest cannot be pushed, and whether there
// is one. broken are the earlier manifests that cannot be pushed.
func (s *source) findProblem(m *closure.Manifest, broken map[digest.Digest]layoutstore.Kind) (layoutstore.Problem, bool) {
	p := layoutstore.Problem{Kind: layoutstore.Damaged}
	var refused *layoutstore.ProblemError
	own, known := s.byDigest[m.Digest]
	switch {
	case m.Unavailable == nil && len(m.Refs.Malformed) == 0:
		var ok bool
		if p, ok = s.findContentProblem(m, broken); !ok {
			return p, false
		}
	case known:
		p = own
	case errors.As(m.Unavailable, &refused):
		p = refused.Problem
	case m.Unavailable != nil:
		p.Reason = m.Unavailable.Error()
	default:
		p.Reason = m.Refs.Malformed[0]
	}
	return s.about(p, m), true
}

// findContentProblem returns a problem if content of a manifest is missing or damaged.
func (s *source) findContentProblem(m *closure.Manifest, broken map[digest.Digest]layoutstore.Kind) (layoutstore.Problem, bool) {
	for _, d := range m.Refs.Children {
		if kind, ok := broken[d.Digest]; ok {
			return layoutstore.Problem{Kind: kind, Reason: fmt.Sprintf("its child %s cannot be pushed", d.Digest)}, true
		}
	}
	for _, ref := range m.Refs.Blobs {
		b, ok := s.blob(ref.Digest)
		p, known := s.byDigest[ref.Digest]
		if !known {
			p = layoutstore.Problem{Kind: layoutstore.Incomplete, Reason: problem.Missing}
		}
		switch {
		case !ok && !(ref.Optional && p.Reason == problem.Missing):
			p.Reason = fmt.Sprintf("blob %s: %s", ref.Digest, p.Reason)
			return p, true
		case ok && b.Size != ref.Size:
			p.Kind, p.Reason = layoutstore.Damaged, fmt.Sprintf("blob %s has %d bytes, but the manifest says %d", ref.Digest, b.Size, ref.Size)
			return p, true
		}
	}
	return layoutstore.Problem{}, false
}

// about adds the digest, tags, type and layout of a manifest to a problem.
func (s *source) about(p layoutstore.Problem, m *closure.Manifest) layoutstore.Problem {
	p.Digest, p.Tags, p.MediaType, p.Layout = m.Digest, m.TagsTo(), m.MediaType, s.path
	return p
}

// nonDistributable returns the problem of a missing layer that the tree is allowed to omit.
func (s *source) nonDistributable(r *Repository, m *closure.Manifest, ref closure.Ref) layoutstore.Problem {
	p := s.about(layoutstore.Problem{Kind: layoutstore.Incomplete, Reason: "a non-distributable layer that is missing from the sources"}, m)
	p.Repository, p.Digest, p.MediaType = r.Name, ref.Digest, cmp.Or(ref.MediaType, p.MediaType)
	return p
}
