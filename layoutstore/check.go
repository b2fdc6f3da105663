package layoutstore

import (
	"context"
	"errors"
	"slices"

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

// check looks for every blob that a manifest of the repository names.
func (r *Repository) check(ctx context.Context) error {
	if r.checked.Load() != nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	c, err := r.read()
	if err != nil {
		return err
	}
	problems := slices.Clone(c.problems)
	for rest := c.claims; len(rest) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := 1
		for n < len(rest) && rest[n].key == rest[0].key {
			n++
		}
		found, err := r.checkBlob(c, rest[:n])
		if err != nil {
			return err
		}
		for _, p := range found {
			problems = appendBounded(problems, p)
		}
		rest = rest[n:]
	}
	r.checked.Store(&problems)
	return nil
}

// checkBlob looks at one blob, of which claims speak.
func (r *Repository) checkBlob(c *contents, claims []claim) ([]Problem, error) {
	d := c.digestOf(claims[0])
	var corrupt *CorruptError
	where, err := r.locate(d, claims)
	if _, synthetic := r.synthetic[d]; synthetic {
		return nil, nil
	}
	at := Problem{Kind: Damaged, Tag: claims[0].owner.tag, Digest: d}
	switch {
	case errors.As(err, &corrupt):
		at.Path, at.Reason = corrupt.Path, corrupt.Reason
		return []Problem{at}, nil
	case errors.Is(err, ErrBlobUnknown):
		if claims[0].optional {
			return nil, nil
		}
		at.Path, at.Kind, at.Reason = r.namedBy(claims[0].owner).where(), Incomplete, "not there"
		return []Problem{at}, nil
	case err != nil:
		return nil, err
	}
	var found []Problem
	for _, cl := range claims {
		if cl.size != where.Size() {
			lie := at
			lie.Path = r.namedBy(cl.owner).where()
			lie.Tag, lie.Reason = cl.owner.tag, wrongSize(where.Size(), []int64{cl.size})
			found = append(found, lie)
		}
	}
	return found, nil
}

// found are the problems known of the repository so far.
func (r *Repository) found() []Problem {
	if checked := r.checked.Load(); checked != nil {
		return slices.Concat(r.problems, *checked)
	}
	if c := r.contents.Load(); c != nil {
		return slices.Concat(r.problems, c.problems)
	}
	return r.problems
}

// namedBy is the last layout whose index names n.
func (r *Repository) namedBy(n *node) *part {
	for _, p := range slices.Backward(r.parts) {
		if slices.ContainsFunc(p.index.entries, func(e entry) bool { return e.Digest == n.digest }) {
			return p
		}
	}
	return nil
}

// where is the path of the layout, for problems.
func (p *part) where() string {
	switch {
	case p == nil:
		return ""
	case p.path == ".":
		return p.vol.String()
	}
	return p.vol.String() + "/" + p.path
}

// where is the path of the repository's last layout, for problems of its name.
func (r *Repository) where() string {
	if len(r.parts) == 0 {
		return r.path
	}
	return r.parts[len(r.parts)-1].where()
}
