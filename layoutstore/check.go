package layoutstore

import (
	"context"
	"errors"
	"slices"

	"github.com/opencontainers/go-digest"

	"golang.org/x/sync/errgroup"
)

// Check reads all manifests. It checks their digests and sizes, and the sizes of blobs. It reads at
// most jobs repositories at a time. [Snapshot.Problems] then includes its findings. The error is
// the context's, or one for which [IsExhausted] is true.
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

// check locates every blob that a manifest of the repository names. Concurrent callers share
// one check. It waits no longer than ctx lasts.
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
		claims := t.claimsOf(rest[0].key)
		if err := r.checkBlob(ctx, t.digestOf(rest[0]), claims, &done); err != nil {
			return err
		}
		rest = rest[len(claims):]
	}
	r.checked.Store(&done)
	return nil
}

// isOutdated reports whether the result of a check may have changed: damaged content may be
// intact by now, or intact content damaged. It reads each damaged item once and nothing else.
// The error is the cause of ctx.
func (r *Repository) isOutdated(ctx context.Context) (bool, error) {
	t := r.table.Load()
	if r.suspect.Load() || t == nil {
		return r.suspect.Load(), nil
	}
	for _, n := range t.unread() {
		if _, err := r.readManifest(ctx, n.digest(), nil); err == nil || ctx.Err() != nil {
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

// checkBlob locates the blob d and compares its size with all claims about it. It adds problems
// to done. Errors: those for which [IsExhausted] is true; the cause of ctx.
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
				add(Problem{Kind: Damaged, Digest: d, Reason: sizeMismatch(where.Size(), c.size)}, c.top)
			}
		}
	}
	return nil
}

// problemsOfContent returns the problems found in the indexes and manifests of the repository,
// and by a check.
func (r *Repository) problemsOfContent() []Problem {
	if done := r.checked.Load(); done != nil {
		return slices.Concat(r.problems, done.problems)
	} else if t := r.table.Load(); t != nil {
		return slices.Concat(r.problems, t.problems)
	}
	return r.problems
}

// noteRefusal records that content was refused, if err is a *ProblemError. The next refresh
// then makes the repository again, unless a known problem is about the content or ctx has ended.
func (r *Repository) noteRefusal(ctx context.Context, err error) {
	if err == nil || r.suspect.Load() {
		return
	}
	var refused *ProblemError
	if errors.As(err, &refused) && !r.hasProblemOf(ctx, refused.Problem.Digest) && ctx.Err() == nil {
		r.suspect.Store(true)
	}
}

// hasProblemOf reports whether a problem of the repository is about d. It reads no files of
// other quarantined blobs, because a client may repeat its request again and again.
func (r *Repository) hasProblemOf(ctx context.Context, d digest.Digest) bool {
	return slices.ContainsFunc(r.problemsOfContent(), func(p Problem) bool { return p.Digest == d }) ||
		slices.ContainsFunc(r.layouts, func(p *indexedLayout) bool { _, ok, _ := r.quarantineProblem(ctx, p, d); return ok })
}

// namedBy returns the last layout whose index names n, or nil.
func (r *Repository) namedBy(n *node) *indexedLayout {
	for _, p := range slices.Backward(r.layouts) {
		if p.index.names(n.digest()) {
			return p
		}
	}
	return nil
}
