package layoutstore

import (
	"context"
	"errors"
	"slices"

	"github.com/opencontainers/go-digest"

	"golang.org/x/sync/errgroup"
)

// Check reads the rest of the snapshot with at most jobs reads at a time: the manifests,
// whose digests and sizes it checks, and the sizes of blobs. Its findings are among the
// problems from then on. The error is the context's, or one for which [IsExhausted] is
// true.
func (s *Snapshot) Check(ctx context.Context, jobs int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(jobs)
	for _, path := range s.paths {
		group.Go(func() error { return s.byPath[path].check(ctx) })
	}
	return group.Wait()
}

// checked is the result of a check.
type checked struct {
	problems []Problem
	missing  []digest.Digest // blobs that are missing or have a wrong size
}

// check looks for every blob that a manifest of the repository names. Concurrent callers
// share one check. It does not wait longer than ctx lasts.
func (r *Repository) check(ctx context.Context) error {
	if r.checked.Load() != nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := r.checkFlight.Do(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, r.checkAll(ctx) })
	return err
}

func (r *Repository) checkAll(ctx context.Context) error {
	t, err := r.readTable(ctx)
	if err != nil {
		return err
	}
	done := checked{problems: slices.Clone(t.problems)}
	for rest := t.claims; len(rest) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := 1
		for n < len(rest) && rest[n].key == rest[0].key {
			n++
		}
		if err := r.checkBlob(ctx, t.digestOf(rest[0]), rest[:n], &done); err != nil {
			return err
		}
		rest = rest[n:]
	}
	r.checked.Store(&done)
	return nil
}

// isOutdated reports whether the result of a check may have changed: something damaged may
// be intact now, or the other way round. It reads each damaged item once and nothing else.
// The error is the cause of ctx.
func (r *Repository) isOutdated(ctx context.Context) (bool, error) {
	t := r.table.Load()
	if r.suspect.Load() || t == nil {
		return r.suspect.Load(), nil
	}
	for _, n := range t.unread() {
		if _, err := r.readManifest(ctx, n.digest()); err == nil || ctx.Err() != nil {
			return err == nil, context.Cause(ctx)
		}
	}
	if done := r.checked.Load(); done != nil {
		for _, d := range done.missing {
			k, _ := keyOf(d)
			if _, err := r.locate(ctx, d, t.claimsOf(k)); err == nil || ctx.Err() != nil {
				return err == nil, context.Cause(ctx)
			}
		}
	}
	return false, nil
}

// checkBlob looks for the blob d, which the claims are about.
func (r *Repository) checkBlob(ctx context.Context, d digest.Digest, claims []claim, done *checked) error {
	if r.images.has(claims[0].key) {
		return nil
	}
	add := func(p Problem, top int32) { done.problems = r.appendProblem(done.problems, p, top) }
	var refused *ProblemError
	where, err := r.locate(ctx, d, claims)
	switch {
	case errors.As(err, &refused):
		done.missing = append(done.missing, d)
		add(refused.Problem, claims[0].top)
	case errors.Is(err, ErrBlobUnknown):
		if !allOptional(claims) {
			done.missing = append(done.missing, d)
			add(refuseMissing(d, ErrBlobUnknown).Problem, claims[0].top)
		}
	case err != nil:
		return err
	default:
		for _, c := range claims {
			if c.size != where.Size() {
				add(Problem{Kind: Damaged, Digest: d, Reason: sizeMismatch(where.Size(), []int64{c.size})}, c.top)
			}
		}
	}
	return nil
}

// knownProblems returns the problems of the repository that are known so far. The error is the
// cause of ctx.
func (r *Repository) knownProblems(ctx context.Context) ([]Problem, error) {
	return r.quarantineProblems(ctx, r.problemsOfContent())
}

// problemsOfContent returns those found in its indexes and manifests, and by a check.
func (r *Repository) problemsOfContent() []Problem {
	known := r.problems
	if done := r.checked.Load(); done != nil {
		known = slices.Concat(r.problems, done.problems)
	} else if t := r.table.Load(); t != nil {
		known = slices.Concat(r.problems, t.problems)
	}
	return known
}

// noteRefusal records that content was refused. The next refresh then scans the repository
// again, unless its problems already cover it, or ctx ended before that was known.
func (r *Repository) noteRefusal(ctx context.Context, err error) {
	var refused *ProblemError
	if !errors.As(err, &refused) || r.suspect.Load() {
		return
	}
	if !r.hasProblemOf(ctx, refused.Problem.Digest) && ctx.Err() == nil {
		r.suspect.Store(true)
	}
}

// hasProblemOf reports whether a problem of the repository is about d. It checks no other
// quarantined copies: clients may request one again and again.
func (r *Repository) hasProblemOf(ctx context.Context, d digest.Digest) bool {
	return slices.ContainsFunc(r.problemsOfContent(), func(p Problem) bool { return p.Digest == d }) ||
		slices.ContainsFunc(r.layouts, func(p *indexedLayout) bool { _, ok, _ := r.quarantineProblem(ctx, p, d); return ok })
}

// namedBy returns the last layout whose index names n.
func (r *Repository) namedBy(n *node) *indexedLayout {
	for _, p := range slices.Backward(r.layouts) {
		if (Layout{p}).IndexContains(n.digest()) {
			return p
		}
	}
	return nil
}
