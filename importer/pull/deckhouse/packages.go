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

// planPackageVersions plans one archive with the versions of every package, selected or not:
// a cluster lists all of them. A package whose versions cannot be read is skipped.
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

// packageNames returns the names of all packages or, if they cannot be listed, the requested
// ones.
func (p *planner) packageNames(ctx context.Context, f family) ([]string, error) {
	if p.selection.ProxyRegistry {
		return sortedKeys(selectors(f.include)), nil
	}
	tags, err := p.source.Tags(ctx, f.source)
	if pull.IsAbsent(err) || pull.IsRefused(err) && p.selection.NoPackages {
		p.draft.AddMissing(f.source, "", "no list of packages, so no "+f.one+"-versions.tar: "+err.Error())
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
	// The tags of a selected package come first: its channels may point at a named version.
	own := p.draft.Copy(l, f.one+"-"+name+".tar", at)
	if p.selection.ProxyRegistry {
		return nil // no other versions are known
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
		p.draft.AddMissing(l.Repository, "", "cannot read the versions of the package: "+err.Error())
		return nil
	}
	return err
}
