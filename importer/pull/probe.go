package pull

import (
	"context"
	"fmt"

	"github.com/Masterminds/semver/v3"
)

// walk finds the versions of a repository that lists no tags, by asking for them: from
// the lowest that the constraint names the patch is raised while there is one and it
// is wanted; then the next minor version with patch 0 is tried once, then the next
// major version; the first that is there goes on, and none ends the walk. What it finds
// is chosen from as from a list.
func (p *planner) walk(ctx context.Context, repository string, c *constraint) ([]string, error) {
	if c.lower == nil {
		return nil, usage("version %q has no lower bound", c.text)
	}
	var found []string
	at := *c.lower
	// there asks for a version, and notes it.
	there := func(v semver.Version) (bool, error) {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if !c.some.Check(&v) {
			return false, nil
		}
		tag := "v" + v.String()
		_, err := p.src.registry.HeadManifest(ctx, repository, tag)
		if absent(err) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("trying versions: %w", err)
		}
		found = append(found, tag)
		return true, nil
	}
	for {
		ok, err := there(at)
		for ok && err == nil {
			at = at.IncPatch()
			ok, err = there(at)
		}
		if err != nil {
			return nil, err
		}
		next := []semver.Version{at.IncMinor(), at.IncMajor()}
		for _, v := range next {
			if ok, err = there(v); err != nil {
				return nil, err
			}
			if ok {
				at = v.IncPatch()
				break
			}
		}
		if !ok {
			return c.choose(found), nil
		}
	}
}
