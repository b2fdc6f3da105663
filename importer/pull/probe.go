package pull

import (
	"context"
	"fmt"

	"github.com/Masterminds/semver/v3"
)

// maxWalk is how many versions of a repository are tried at most.
const maxWalk = 5_000

// walk finds the versions of a repository that lists no tags, by asking for them: from
// the lowest that the constraint names the patch is raised while there is one and it
// is wanted; then the next minor version with patch 0 is tried once, then the next
// major version; the first that is there goes on, and none ends the walk. What it finds
// is chosen from as from a list. A registry that has whatever it is asked for would be
// walked through for ever: maxWalk ends that.
func (p *planner) walk(ctx context.Context, repository string, c *constraint) ([]string, error) {
	if c.lower == nil {
		return nil, usage("version %q has no lower bound", c.text)
	}
	var found []string
	asked := 0
	at := *c.lower
	// there asks for a version, and notes it.
	there := func(v semver.Version) (bool, error) {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if !c.some.Check(&v) {
			return false, nil
		}
		if asked++; asked > maxWalk {
			return false, fmt.Errorf("%s: more than %d versions were tried, up to v%s: does the registry say of every tag that it is there? name versions as =vX.Y.Z", repository, maxWalk, &v)
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
