package pull

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
)

func (p *planner) packages(ctx context.Context) error { return p.family(ctx, p.packageFamily()) }

func (p *planner) packageFamily() family {
	return family{"package", "packages", p.Source.Repository("packages"), "version", p.Selection.IncludePackages, p.Selection.ExcludePackages}
}

// packageVersions plans one archive of the versions of every package, wanted or not: a
// cluster shows what there is. A package whose versions cannot be had is left out.
func (p *planner) packageVersions(ctx context.Context) error {
	const archive = "package-versions.tar"
	f := p.packageFamily()
	names, err := p.packageNames(ctx, f)
	if err != nil || len(names) == 0 {
		return err
	}
	c := p.component("package versions", archive)
	c.Versions = names
	return p.each(ctx, len(names), func(ctx context.Context, i int) error { return p.versionsOf(ctx, f, archive, names[i]) })
}

// packageNames are the names of all packages; without a list of them, of those that are
// asked for.
func (p *planner) packageNames(ctx context.Context, f family) ([]string, error) {
	if p.Selection.ProxyRegistry {
		names, err := parseNames(f.include)
		return sortedKeys(names), err
	}
	tags, err := p.src.tags(ctx, f.source)
	if absent(err) || isRefused(err) && p.Selection.NoPackages {
		p.lack(f.source, "", "no list of packages, so no "+f.one+"-versions.tar: "+err.Error())
		return nil, nil
	}
	names := sorted(tags)
	if i := slices.IndexFunc(names, func(name string) bool { return !validSegment(name) }); i >= 0 {
		return nil, broken(f.source, names[i], unusable{fmt.Errorf("no name of a %s", f.one)})
	}
	return names, err
}

// versionsOf plans all versions of one package.
func (p *planner) versionsOf(ctx context.Context, f family, archive, name string) error {
	at := path.Join(f.segment, name, f.releases)
	l := p.layout(archive, at, path.Join(f.source, name, f.releases))
	l.optional = true
	// What is planned for the package itself comes first: where a version is asked for,
	// channels point at that.
	own := p.imagesOf(f.one+"-"+name+".tar", at)
	p.mu.Lock()
	for tag, i := range own {
		l.images[tag] = i
		l.digests[i.Digest] = true
	}
	p.mu.Unlock()
	tags, err := p.versionTags(ctx, l.Repository)
	for _, tag := range tags {
		if err != nil {
			break
		}
		if _, ok := own[tag]; !ok && !(p.Selection.SkipVexImages && strings.HasSuffix(tag, attestation)) {
			_, err = p.addIfThere(ctx, l, tag, tag)
		}
	}
	if absent(err) || isRefused(err) {
		p.lack(l.Repository, "", "versions of the package cannot be had: "+err.Error())
		return nil
	}
	return err
}

// versionTags are the tags of a package's versions: all, or where no list is to be had,
// the channels.
func (p *planner) versionTags(ctx context.Context, repository string) ([]string, error) {
	if p.Selection.ProxyRegistry {
		return nil, nil // what is planned for the package is all that is known
	}
	tags, err := p.src.tags(ctx, repository)
	return sorted(tags), err
}

// imagesOf are the images that are planned for a layout, by tag.
func (p *planner) imagesOf(archive, at string) map[string]bundle.Image {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.layouts[archive+"\x00"+at]; l != nil {
		return maps.Clone(l.images)
	}
	return nil
}
