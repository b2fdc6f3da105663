package layoutstore

import (
	"context"
	"errors"
	"slices"

	"github.com/opencontainers/go-digest"

	"golang.org/x/sync/errgroup"
)

// Check reads what is yet unread of the snapshot, with at most jobs at a time:
// the manifests, whose digests and sizes it checks, and the sizes of blobs. Its
// findings are among the problems from then on. The error is the context's, or
// one that [Exhausted] knows.
func (s *Snapshot) Check(ctx context.Context, jobs int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(jobs)
	for _, path := range s.paths {
		group.Go(func() error { return s.byPath[path].check(ctx) })
	}
	return group.Wait()
}

// checked is what a check found.
type checked struct {
	problems []Problem
	lacking  []digest.Digest // blobs that are missing or have a wrong size
}

// check looks for every blob that a manifest of the repository names, once for all who
// ask meanwhile. It does not wait longer than ctx lasts.
func (r *Repository) check(ctx context.Context) error {
	if r.checked.Load() != nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := r.checking.Do(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, r.checkAll(ctx) })
	return err
}

func (r *Repository) checkAll(ctx context.Context) error {
	t, err := r.read(ctx)
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

// changed says whether something of what a check found wrong may be right by now,
// or the other way round. It costs one read of each thing that was wrong, and no more. The
// error is the cause of ctx.
func (r *Repository) changed(ctx context.Context) (bool, error) {
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
		for _, d := range done.lacking {
			k, _ := keyOf(d)
			if _, err := r.locate(ctx, d, t.claimsOf(k)); err == nil || ctx.Err() != nil {
				return err == nil, context.Cause(ctx)
			}
		}
	}
	return false, nil
}

// checkBlob looks for the blob d, of which claims speak.
func (r *Repository) checkBlob(ctx context.Context, d digest.Digest, claims []claim, done *checked) error {
	if r.images.has(claims[0].key) {
		return nil
	}
	add := func(p Problem, top int32) { done.problems = r.appendProblem(done.problems, p, top) }
	var refused *ProblemError
	where, err := r.locate(ctx, d, claims)
	switch {
	case errors.As(err, &refused):
		done.lacking = append(done.lacking, d)
		add(refused.Problem, claims[0].top)
	case errors.Is(err, ErrBlobUnknown):
		if !optional(claims) {
			done.lacking = append(done.lacking, d)
			add(notThere(d, ErrBlobUnknown).Problem, claims[0].top)
		}
	case err != nil:
		return err
	default:
		for _, c := range claims {
			if c.size != where.Size() {
				add(Problem{Kind: Damaged, Digest: d, Reason: wrongSize(where.Size(), []int64{c.size})}, c.top)
			}
		}
	}
	return nil
}

// found are the problems known of the repository so far.
func (r *Repository) found() []Problem { return r.quarantineProblems(r.foundByCheck()) }

// foundByCheck are those that its indexes and manifests tell.
func (r *Repository) foundByCheck() []Problem {
	known := r.problems
	if done := r.checked.Load(); done != nil {
		known = slices.Concat(r.problems, done.problems)
	} else if t := r.table.Load(); t != nil {
		known = slices.Concat(r.problems, t.problems)
	}
	return known
}

// refused remembers that content was refused, so that the next refresh looks at the
// repository again if its problems do not say so yet.
func (r *Repository) refused(err error) {
	var refused *ProblemError
	if !errors.As(err, &refused) || r.suspect.Load() {
		return
	}
	if !r.knows(refused.Problem.Digest) {
		r.suspect.Store(true)
	}
}

// knows says whether a problem of the repository is about d. It looks at no other
// quarantined copies: clients may ask for one again and again.
func (r *Repository) knows(d digest.Digest) bool {
	return slices.ContainsFunc(r.foundByCheck(), func(p Problem) bool { return p.Digest == d }) ||
		slices.ContainsFunc(r.parts, func(p *part) bool { _, ok := r.quarantineProblem(p, d); return ok })
}

// namedBy is the last layout whose index names n.
func (r *Repository) namedBy(n *node) *part {
	for _, p := range slices.Backward(r.parts) {
		if (Layout{p}).IndexContains(n.digest()) {
			return p
		}
	}
	return nil
}
