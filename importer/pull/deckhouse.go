package pull

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

// editions are the last segments of a source that name an edition.
func editions() []string { return []string{"ce", "be", "se", "se-plus", "ee", "fe", "cse"} }

// base is the source without its edition: what all editions share lies below it.
func (p *planner) base(below string) string {
	root := p.Source.Path
	if slices.Contains(editions(), path.Base(root)) {
		root = strings.TrimPrefix(path.Dir(root), ".")
	}
	return client.Reference{Registry: p.Source.Registry, Path: root}.Repository(below)
}

// validSegment says whether a name of the source can be one segment of a path.
func validSegment(s string) bool { return client.ValidRepository(s) && !strings.Contains(s, "/") }

// deckhouse plans what the selection asks for.
func (p *planner) deckhouse(ctx context.Context) error {
	steps := []struct {
		skip bool
		plan func(context.Context) error
	}{
		{p.Selection.NoPlatform, p.platform},
		{p.Selection.NoInstaller, p.installer},
		{p.Selection.NoSecurityDB, p.security},
		{p.Selection.NoModules, p.modules},
		{p.Selection.NoPackages, p.packages},
		{len(p.Selection.IncludePlugins) == 0, p.plugins},
	}
	for _, s := range steps {
		if s.skip {
			continue
		}
		if err := s.plan(ctx); err != nil {
			return err
		}
	}
	return nil
}

// installer plans the stand-alone installer, which all editions share.
func (p *planner) installer(ctx context.Context) error {
	tag := p.Selection.InstallerTag
	c := p.component("installer", "installer.tar")
	l := p.layout("installer.tar", "installer", p.base("installer"))
	add := p.addIfThere
	if tag != "" {
		add = p.add
	} else {
		tag = "latest"
	}
	ok, err := add(ctx, l, tag, tag)
	if !ok {
		c.note("%s:%s is not there", l.Repository, tag)
		return err
	}
	c.Versions = []string{tag}
	return err
}

// databases are the vulnerability databases and the tag of each. Without the first one
// an edition has none of them.
func databases() [][2]string {
	return [][2]string{{"trivy-db", "2"}, {"trivy-bdu", "1"}, {"trivy-java-db", "1"}, {"trivy-checks", "0"}}
}

func (p *planner) security(ctx context.Context) error {
	c := p.component("security", "security.tar")
	for i, db := range databases() {
		at := "security/" + db[0]
		l := p.layout("security.tar", at, p.Source.Repository(at))
		ok, err := p.addIfThere(ctx, l, db[1], db[1])
		switch {
		case err != nil:
			return err
		case ok:
			c.Versions = append(c.Versions, db[0]+":"+db[1])
		case i == 0:
			c.note("this edition has no vulnerability databases: %s:%s is not there", l.Repository, db[1])
			return nil
		default:
			c.note("%s:%s is not there", l.Repository, db[1])
		}
	}
	return nil
}

// plugins plans those plugins of the command line that are named, indexes whole.
func (p *planner) plugins(ctx context.Context) error {
	wanted, err := parseNames(p.Selection.IncludePlugins)
	if err != nil {
		return err
	}
	for _, name := range sortedKeys(wanted) {
		at, archive := "deckhouse-cli/plugins/"+name, "plugin-"+name+".tar"
		l := p.layout(archive, at, p.base(at))
		c := p.component("plugin "+name, archive)
		tags, err := p.pluginTags(ctx, l.Repository, wanted[name])
		if err != nil {
			return err
		}
		if len(tags) == 0 {
			p.gap(l.Repository, "", "no version of it is wanted: "+wanted[name].String())
		}
		for _, tag := range tags {
			if _, err := p.add(ctx, l, tag, tag); err != nil {
				return err
			}
		}
		c.Versions = tags
	}
	return nil
}

// pluginTags are the versions of a plugin that are wanted: the newest one that is no
// preview, if nothing is said of versions.
func (p *planner) pluginTags(ctx context.Context, repository string, n named) ([]string, error) {
	if n.constraint != nil {
		return p.wanted(ctx, repository, n.constraint)
	}
	if p.Selection.ProxyRegistry {
		return nil, usage("plugin %s: a source that lists no tags needs a constraint of its versions", n.name)
	}
	tags, err := p.src.tags(ctx, repository)
	if absent(err) {
		p.gap(repository, "", "not there")
		return nil, nil
	}
	all := slices.DeleteFunc(releases(sorted(tags)), func(r release) bool { return r.version.Prerelease() != "" })
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return []string{all[len(all)-1].tag}, nil
}

func (n named) String() string {
	if n.constraint == nil {
		return n.name
	}
	return n.name + "@" + n.text
}

// wanted are the tags of a repository that a constraint chooses.
func (p *planner) wanted(ctx context.Context, repository string, c *constraint) ([]string, error) {
	if c.some == nil {
		tag, err := p.exact(ctx, repository, c.tag)
		return []string{tag}, err
	}
	if p.Selection.ProxyRegistry {
		return p.walk(ctx, repository, c)
	}
	tags, err := p.src.tags(ctx, repository)
	if absent(err) {
		return nil, nil
	}
	return c.choose(sorted(tags)), err
}

// exact is the tag that is meant by one that a person wrote: the letter before a
// version may be left out.
func (p *planner) exact(ctx context.Context, repository, tag string) (string, error) {
	if _, ok := parseRelease(tag); !ok || strings.HasPrefix(tag, "v") {
		return tag, nil
	}
	_, err := p.src.resolve(ctx, repository, tag)
	if absent(err) {
		return "v" + tag, nil
	}
	return tag, err
}

// digestsIn are the strings sha256:<64 hex> anywhere in a JSON document, sorted.
func digestsIn(data []byte) ([]digest.Digest, error) {
	found := map[digest.Digest]bool{}
	err := stringsIn(data, func(s string) {
		if d := digest.Digest(s); d.Validate() == nil && d.Algorithm() == digest.SHA256 {
			found[d] = true
		}
	})
	return slices.Sorted(maps.Keys(found)), err
}

// stringsIn calls do for each string that is a value of a JSON document.
func stringsIn(data []byte, do func(string)) error {
	var doc any
	if err := json.Unmarshal(data, &doc); err != nil {
		return unusable{err}
	}
	for todo := []any{doc}; len(todo) > 0; {
		v := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		switch v := v.(type) {
		case string:
			do(v)
		case []any:
			todo = append(todo, v...)
		case map[string]any:
			for _, value := range v {
				todo = append(todo, value)
			}
		}
	}
	return nil
}

// internal plans the images that a file of an image, which is a tag of a repository,
// names by digest.
func (p *planner) internal(ctx context.Context, l *planned, repository, tag, file string, data []byte) error {
	digests, err := digestsIn(data)
	if err != nil {
		return broken(repository, tag, fmt.Errorf("%s: %w", file, err))
	}
	return p.each(ctx, len(digests), func(ctx context.Context, i int) error {
		_, err := p.add(ctx, l, digests[i].Encoded(), digests[i].String())
		return err
	})
}
