package layoutstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// Audit is the result of comparing a repository's graph with its layouts. An audit checks that all
// content is present and has the right size, and that manifests match their digests. The caller
// checks the digests of blobs.
type Audit struct {
	Graph    *closure.Graph
	Problems []Problem // sorted by place; nil after [Snapshot.AuditWith]

	repo  *Repository
	name  string
	found Findings
	need  map[digest.Digest]*need
	read  map[copyKey]*ProblemError // problem of each manifest copy that was read; nil if the copy is intact
}

type copyKey struct {
	layout *indexedLayout
	digest digest.Digest
}

// Stored is the copy of a blob in one layout.
type Stored struct {
	Layout Layout
	Digest digest.Digest
	Where  extent.List
	Needed bool // whether a manifest or an index refers to the blob
	Read   bool // whether the audit has read the copy, as a manifest, and reported its problems
}

// Findings contains the functions to which an audit passes its findings, one by one, in no
// particular order. Each function may be nil.
type Findings struct {
	Problem func(Problem)
	// NonDistributable receives missing layers whose media type allows them to be missing. They are
	// not problems, but clients must get such layers from elsewhere.
	NonDistributable func(Problem)
	Blob             func(Stored) // receives copies, unless unreadable, unsigned, quarantined or of a wrong size
}

// need describes content to which manifests or indexes refer, and its copies.
type need struct {
	manifest   *closure.Manifest
	blob       *closure.Blob
	sizes      []int64  // accepted sizes of a copy in bytes
	layouts    []Layout // layouts that have a copy of an accepted size
	foundSizes []int64  // size in bytes of the copy in each of layouts
	present    bool     // whether any layout has a copy, of any size
}

// Audit audits the repository at path, and returns all problems. The error is ErrRepositoryUnknown,
// ErrStale if a refresh is due, the context's, or one for which [IsExhausted] is true.
func (s *Snapshot) Audit(ctx context.Context, path string) (*Audit, error) {
	var problems []Problem
	a, err := s.AuditWith(ctx, path, Findings{Problem: func(p Problem) { problems = append(problems, p) }})
	if err != nil {
		return nil, err
	}
	sortProblems(problems)
	a.Problems = problems
	return a, nil
}

// AuditWith is like [Snapshot.Audit], but passes each finding to found. It does not keep the
// findings, because there may be one per blob.
func (s *Snapshot) AuditWith(ctx context.Context, path string, found Findings) (*Audit, error) {
	repo, err := s.At(path)
	if err != nil {
		return nil, err
	}
	a := &Audit{repo: repo, name: s.servedName(path), need: map[digest.Digest]*need{}, read: map[copyKey]*ProblemError{}, found: found}
	note := func(p *indexedLayout, d digest.Digest, wrong *ProblemError) { a.read[copyKey{p, d}] = wrong }
	if a.Graph, err = closure.Walk(ctx, repo.tops(), repo.manifestReader(note)); err != nil {
		return nil, err
	}
	a.collect()
	for _, l := range repo.Layouts() {
		if err := a.auditLayout(ctx, l); err != nil {
			return nil, err
		}
	}
	for _, m := range a.Graph.Manifests {
		if err := a.auditManifest(ctx, m); err != nil {
			return nil, err
		}
	}
	for _, b := range a.Graph.Blobs {
		if err := a.auditBlob(ctx, b); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// collect adds all manifests and blobs of the graph to a.need, with their accepted sizes.
func (a *Audit) collect() {
	for _, m := range a.Graph.Manifests {
		n := a.needOf(m.Digest)
		// The real size is accepted, too: auditManifest reports the descriptors that state another size.
		n.manifest, n.sizes = m, append(slices.Clone(m.Claims), m.Size)
	}
	for _, b := range a.Graph.Blobs {
		n := a.needOf(b.Digest)
		n.blob = b
		for _, c := range b.Claims {
			if !slices.Contains(n.sizes, c.Size) {
				n.sizes = append(n.sizes, c.Size)
			}
		}
	}
}

func (a *Audit) needOf(d digest.Digest) *need {
	n := a.need[d]
	if n == nil {
		n = &need{}
		a.need[d] = n
	}
	return n
}

func (a *Audit) auditLayout(ctx context.Context, l Layout) error {
	all, err := l.Blobs(ctx)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case IsExhausted(err):
		return err
	case err != nil:
		path, entry := l.Where()
		a.report(Problem{Kind: Damaged, Path: path, Entry: entry, Repository: a.name, Layout: a.repo.path, Reason: fmt.Sprintf("its blobs cannot be listed: %v", err)})
	}
	for _, d := range all {
		if err := a.auditCopy(ctx, l, d); err != nil {
			return err
		}
	}
	return nil
}

// auditCopy audits the copy of d in the layout l.
func (a *Audit) auditCopy(ctx context.Context, l Layout, d digest.Digest) error {
	where, err := l.Locate(ctx, d)
	if IsExhausted(err) || err != nil && ctx.Err() != nil {
		return err
	}
	if errors.Is(err, fs.ErrNotExist) && l.indexed.trust.hasBlob(d) {
		return nil // the copy was removed during the audit
	}
	n := a.need[d]
	if n != nil {
		n.present = true
	}
	if !l.indexed.trust.hasBlob(d) {
		return a.addProblem(ctx, l, d, Limited, nil, "no signed inventory lists it: it is not served")
	}
	wrong, read := a.read[copyKey{l.indexed, d}]
	reason, quarantined := "", false
	if err == nil && !read {
		var ended error
		if reason, quarantined, ended = a.repo.quarantine.checkCopy(ctx, l.indexed, d, where); ended != nil {
			return ended
		}
	}
	switch {
	case err != nil:
		return a.addProblem(ctx, l, d, Damaged, nil, err.Error())
	case n != nil && !slices.Contains(n.sizes, where.Size()):
		return a.addProblem(ctx, l, d, Damaged, where, sizeMismatch(where.Size(), n.sizes[0]))
	case quarantined:
		return a.addProblem(ctx, l, d, Damaged, where, reason)
	default:
		if take := a.found.Blob; take != nil {
			take(Stored{l, d, where, n != nil, read})
		}
		if wrong != nil {
			return a.addProblem(ctx, l, d, wrong.Problem.Kind, where, wrong.Problem.Reason)
		} else if n != nil {
			n.layouts, n.foundSizes = append(n.layouts, l), append(n.foundSizes, where.Size())
		}
	}
	return nil
}
