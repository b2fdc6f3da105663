package layoutstore

import (
	"context"
	"errors"
	"slices"

	"github.com/opencontainers/go-digest"

	"golang.org/x/sync/errgroup"
)

// Check reads all manifests. It checks their digests and sizes, and the sizes of blobs. It checks
// at most jobs repositories at a time. Afterwards, [Snapshot.Problems] includes what Check found.
// The error is the context's, or one for which [IsExhausted] is true.
func (s *Snapshot) Check(ctx context.Context, jobs int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(jobs)
	for _, path := range s.paths {
		group.Go(func() error { return s.byPath[path].check(ctx) })
	}
	return group.Wait()
}

// checked is the result of checking a repository.
type checked struct {
	problems []Problem
	missing  []digest.Digest // blobs that are missing or damaged
}

// check checks all manifests and blobs of the repository, unless they have been checked. Concurrent
// callers share one check. check waits no longer than ctx lasts.
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

// isOutdated reports whether earlier results about the repository may be wrong by now: damaged
// content may have been repaired, or intact content damaged. isOutdated reads only content that was
// damaged or missing. The error is the cause of ctx.
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

// checkBlob locates the blob d, compares its size with all claims, and adds problems to done. The
// error is the cause of ctx, or one for which [IsExhausted] is true.
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

// problemsOfContent returns all problems that were found so far in the indexes, the manifests and
// the blobs of the repository.
func (r *Repository) problemsOfContent() []Problem {
	if done := r.checked.Load(); done != nil {
		return slices.Concat(r.problems, done.problems)
	} else if t := r.table.Load(); t != nil {
		return slices.Concat(r.problems, t.problems)
	}
	return r.problems
}

// noteRefusal marks the repository as suspect if err is a *ProblemError about a digest for which the
// repository has no problem, and ctx has not ended. The next refresh then builds a new Repository.
func (r *Repository) noteRefusal(ctx context.Context, err error) {
	if err == nil || r.suspect.Load() {
		return
	}
	var refused *ProblemError
	if errors.As(err, &refused) && !r.hasProblemOf(ctx, refused.Problem.Digest) && ctx.Err() == nil {
		r.suspect.Store(true)
	}
}

// hasProblemOf reports whether the repository has a problem about d. Clients can trigger many
// calls, so hasProblemOf reads no files of quarantined blobs other than d.
func (r *Repository) hasProblemOf(ctx context.Context, d digest.Digest) bool {
	return slices.ContainsFunc(r.problemsOfContent(), func(p Problem) bool { return p.Digest == d }) ||
		slices.ContainsFunc(r.layouts, func(p *indexedLayout) bool { _, ok, _ := r.quarantineProblem(ctx, p, d); return ok })
}

// namedBy returns the last layout whose index contains n. It returns nil if no index contains n.
func (r *Repository) namedBy(n *node) *indexedLayout {
	for _, p := range slices.Backward(r.layouts) {
		if p.index.names(n.digest()) {
			return p
		}
	}
	return nil
}
