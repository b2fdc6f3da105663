package deckhouse

import (
	"context"
	"fmt"

	"github.com/Masterminds/semver/v3"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/release"
)

// maxWalk is how many versions of a repository are tried at most.
const maxWalk = 5_000

// walk finds the versions of a repository that lists no tags, by asking for them: one
// walk for each range of the constraint. What it finds is chosen from as from a list.
func (p *planner) walk(ctx context.Context, repository string, c *release.Constraint) ([]string, error) {
	w := &walker{draft: p.draft, repository: repository, found: map[string]bool{}}
	for _, r := range c.Ranges {
		if r.Lowest == nil {
			return nil, noStart(c.Text)
		}
		if err := w.walk(ctx, r); err != nil {
			return nil, err
		}
	}
	return c.Choose(sortedKeys(w.found)), nil
}

// walker walks through the versions of a repository. A registry that has every tag that is
// requested would be walked forever: maxWalk ends that.
type walker struct {
	draft      *pull.Draft
	repository string
	asked      int
	found      map[string]bool // tags
}

// walk raises the patch from the lowest version of a range on, while there is one and
// the range holds; then the next minor version with patch 0 is tried once, then the next
// major version. The first that is there continues the walk, and none ends it.
func (w *walker) walk(ctx context.Context, r release.Range) error {
	at := *r.Lowest
	for {
		ok, err := w.try(ctx, r, at)
		for ok && err == nil {
			at = at.IncPatch()
			ok, err = w.try(ctx, r, at)
		}
		if err != nil {
			return err
		}
		for _, v := range []semver.Version{at.IncMinor(), at.IncMajor()} {
			if ok, err = w.try(ctx, r, v); err != nil {
				return err
			}
			if ok {
				at = v.IncPatch()
				break
			}
		}
		if !ok {
			return nil
		}
	}
}

// try requests a version, if it is in the range, and notes it. A failure ends the walk, for
// more versions may follow.
func (w *walker) try(ctx context.Context, r release.Range, v semver.Version) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if !r.Versions.Check(&v) {
		return false, nil
	}
	if w.asked++; w.asked > maxWalk {
		return false, fmt.Errorf("%s: more than %d versions were tried, up to v%s: does the registry say of every tag that it is there? name versions as =vX.Y.Z", w.repository, maxWalk, &v)
	}
	tag := "v" + v.String()
	ok, err := w.draft.IsThere(ctx, w.repository, tag)
	if err != nil {
		return false, fmt.Errorf("trying versions: %w", err)
	}
	if ok {
		w.found[tag] = true
	}
	return ok, nil
}
