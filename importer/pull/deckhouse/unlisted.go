package deckhouse

import (
	"context"
	"fmt"

	"github.com/Masterminds/semver/v3"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/release"
)

// maxWalk is the maximum number of versions that a search in a repository tries.
const maxWalk = 5_000

// findVersions finds versions in a repository that lists no tags by requesting them. It walks
// through each range of the constraint, and returns the versions that the constraint selects.
func (p *planner) findVersions(ctx context.Context, repository string, c *release.Constraint) ([]string, error) {
	w := &walker{draft: p.draft, repository: repository, found: map[string]bool{}}
	for _, r := range c.Ranges {
		if r.Lowest == nil {
			return nil, errNoStart(c.Text)
		}
		if err := w.walk(ctx, r); err != nil {
			return nil, err
		}
	}
	return c.Choose(sortedKeys(w.found)), nil
}

// walker requests one version of a repository after the other. If the registry claims to have every
// tag, only maxWalk ends the walk.
type walker struct {
	draft      *pull.Draft
	repository string
	tried      int
	// found are the tags of the versions that exist.
	found map[string]bool
}

// walk starts at the lowest version of a range. It raises the patch as long as that version exists
// and is in the range. Then it tries the next minor version with patch 0, and then the next major
// version. It continues at the first of these that exists, and ends if neither exists.
func (w *walker) walk(ctx context.Context, r release.Range) error {
	at := *r.Lowest
	for {
		ok, err := w.tryVersion(ctx, r, at)
		for ok && err == nil {
			at = at.IncPatch()
			ok, err = w.tryVersion(ctx, r, at)
		}
		if err != nil {
			return err
		}
		for _, v := range []semver.Version{at.IncMinor(), at.IncMajor()} {
			if ok, err = w.tryVersion(ctx, r, v); err != nil {
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

// tryVersion requests a version if it is in the range, and records the version if it exists. If the
// request fails, the walk ends with an error, because further versions may exist.
func (w *walker) tryVersion(ctx context.Context, r release.Range, v semver.Version) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if !r.Versions.Check(&v) {
		return false, nil
	}
	if w.tried++; w.tried > maxWalk {
		return false, fmt.Errorf("%s: gave up after trying %d versions, up to v%s: does the registry claim to have every tag? Choose exact versions, such as =vX.Y.Z", w.repository, maxWalk, &v)
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
