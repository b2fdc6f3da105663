package deckhouse

import (
	"context"
	"path"
	"strings"

	"github.com/layoutproxy/layoutproxy/importer/pull"
)

func (p *planner) planPackages(ctx context.Context) error {
	return p.planFamily(ctx, p.packageFamily())
}

func (p *planner) packageFamily() family {
	return family{"package", "packages", p.draft.Root.Repository("packages"), "version", p.selection.IncludePackages, p.selection.ExcludePackages}
}

// planPackageVersions plans one archive with the versions of every package, even of packages that
// are not selected, because a cluster lists all of them. It skips packages whose versions cannot be
// read.
func (p *planner) planPackageVersions(ctx context.Context) error {
	const archive = "package-versions.tar"
	f := p.packageFamily()
	names, err := p.packageNames(ctx, f)
	if err != nil || len(names) == 0 {
		return err
	}
	p.draft.Component("package versions", archive).Versions = names
	return p.draft.Each(ctx, len(names), func(ctx context.Context, i int) error { return p.planVersionsOf(ctx, f, archive, names[i]) })
}

// packageNames returns the names of all packages or, with ProxyRegistry, the requested names. If the list is
// missing, or is refused while NoPackages is set, the report says this, and packageNames returns no names.
func (p *planner) packageNames(ctx context.Context, f family) ([]string, error) {
	if p.selection.ProxyRegistry {
		return sortedKeys(selectors(f.include)), nil
	}
	tags, err := p.source.Tags(ctx, f.source)
	if pull.IsAbsent(err) || pull.IsRefused(err) && p.selection.NoPackages {
		p.draft.AddMissing(f.source, "", "cannot list the packages, so there is no "+f.one+"-versions.tar: "+err.Error())
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return sortedKeys(tags), checkNames(f, tags)
}

func (p *planner) planVersionsOf(ctx context.Context, f family, archive, name string) error {
	at := path.Join(f.segment, name, f.releases)
	l := p.layout(archive, at, path.Join(f.source, name, f.releases), member, func(r *pull.Rules) { r.Optional = true })
	// Copy the tags of a selected package first, because its channels may point at a version that
	// the user names.
	own := p.draft.Copy(l, f.one+"-"+name+".tar", at)
	if p.selection.ProxyRegistry {
		return nil // without a list of tags, no other versions are known
	}
	tags, err := p.source.Tags(ctx, l.Repository)
	for _, tag := range sortedKeys(tags) {
		if err != nil {
			break
		}
		if !own[tag] && !(p.selection.SkipVexImages && strings.HasSuffix(tag, ".att")) {
			_, err = p.draft.AddIfThere(ctx, l, tag, tag)
		}
	}
	if pull.IsAbsent(err) || pull.IsRefused(err) {
		// This also leaves out the versions that were read before: half of the versions could be mistaken for all.
		p.draft.AddTagProblem(l, "", "cannot read the versions of the package: "+err.Error())
		return nil
	}
	return err
}
