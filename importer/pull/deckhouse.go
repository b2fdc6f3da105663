package pull

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/edition"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// programPath is the layout of the d8 program; those of its plugins are below it.
const programPath = "deckhouse-cli"

// shared is the repository of a layout that all editions share: beside the edition, or
// where there is no split, below the source. Nothing stands before an edition that is the
// whole path, so a push to such a target does not split: what it wrote is below the
// edition, and a pull looks there too if the registry itself does not have it.
func (p *planner) shared(ctx context.Context, at string, isThere func(ctx context.Context, repository string) (bool, error)) (string, error) {
	split := edition.OfSource(p.Source.Path)
	if p.Selection.NoEditionSplit {
		split = edition.Unsplit(p.Source.Path)
	}
	name := split.Name(at)
	if split.Parent != "" || !split.IsSplit() {
		return name, nil
	}
	ok, err := isThere(ctx, name)
	if ok || err != nil && !isRefused(err) {
		return name, err
	}
	other, otherErr := isThere(ctx, split.Alias(at))
	if other || otherErr != nil {
		return split.Alias(at), otherErr
	}
	return name, err
}

// isRefused reports whether a registry does not let this client see something.
func isRefused(err error) bool {
	return errors.Is(err, client.ErrUnauthorized) || errors.Is(err, client.ErrDenied)
}

// sharedWith is the repository of a shared layout that has a tag.
func (p *planner) sharedWith(ctx context.Context, at, tag string) (string, error) {
	return p.shared(ctx, at, func(ctx context.Context, repository string) (bool, error) {
		_, err := p.src.resolve(ctx, repository, tag)
		if absent(err) {
			return false, nil
		}
		return err == nil, err
	})
}

// sharedListed is the repository of a shared layout that lists tags.
func (p *planner) sharedListed(ctx context.Context, at string) (string, error) {
	return p.shared(ctx, at, func(ctx context.Context, repository string) (bool, error) {
		tags, err := p.src.tags(ctx, repository)
		if absent(err) {
			return false, nil
		}
		return len(tags) > 0, err
	})
}

// validSegment says whether a name of the source can be one segment of a path.
func validSegment(s string) bool { return names.IsRepository(s) && !strings.Contains(s, "/") }

// deckhouse plans what the selection asks for.
func (p *planner) deckhouse(ctx context.Context) error {
	s := &p.Selection
	steps := []struct {
		skip      bool
		plan      func(context.Context) error
		piece     piece // that an error of content is about
		component string
	}{
		{s.NoPlatform, p.platform, channelPiece, "platform"},
		{s.NoInstaller, p.installer, sharedPiece, "installer"},
		{s.NoSecurityDB, p.security, sharedPiece, "security"},
		{s.NoModules && len(s.IncludeModules) == 0, p.modules, memberPiece, "modules"},
		{s.NoPackages, p.packages, memberPiece, "packages"},
		{false, p.packageVersions, memberPiece, "package versions"},
		{s.OnlyExtraImages, p.program, sharedPiece, "d8"},
		{s.OnlyExtraImages, p.plugins, sharedPiece, "plugins"},
	}
	for _, s := range steps {
		if s.skip {
			continue
		}
		// Where one part is not complete the others are planned all the same: all that is
		// missing is listed.
		if err := p.absorb(s.plan(ctx), s.piece, s.component, ""); err != nil {
			return err
		}
	}
	return nil
}

// installer plans the stand-alone installer, which all editions share.
func (p *planner) installer(ctx context.Context) error {
	const at, archive = "installer", "installer.tar"
	tag := cmp.Or(p.Selection.InstallerTag, "latest")
	repository, err := p.sharedWith(ctx, at, tag)
	if err != nil {
		return err
	}
	c, l := p.component(at, archive), p.layout(archive, at, repository)
	if p.Selection.InstallerTag != "" {
		l.piece = askedPiece
	}
	ok, err := p.addIfThere(ctx, l, tag, tag)
	switch {
	case ok:
		c.Versions = []string{tag}
	case err == nil && p.Selection.InstallerTag != "":
		p.gap(askedPiece, c.Name, repository, tag, "not there")
	case err == nil:
		p.lack(repository, tag, "not there")
	}
	return err
}

// program plans one version of the d8 program, an index kept as it is. Without it a
// bundle is usable still, so only a version that was asked for has to be there.
func (p *planner) program(ctx context.Context) error {
	const archive = programPath + ".tar"
	tag := p.Selection.DeckhouseCLITag
	if tag == "" && p.Selection.ProxyRegistry {
		return nil
	}
	if tag == "" {
		return p.newestProgram(ctx, archive)
	}
	repository, err := p.sharedWith(ctx, programPath, tag)
	if err != nil {
		return err
	}
	p.component("d8", archive).Versions = []string{tag}
	l := p.layout(archive, programPath, repository)
	l.piece = askedPiece
	_, err = p.add(ctx, l, tag, tag)
	return err
}

func (p *planner) newestProgram(ctx context.Context, archive string) error {
	repository, err := p.sharedListed(ctx, programPath)
	var tags map[string]bool
	if err == nil {
		tags, err = p.src.tags(ctx, repository)
	}
	if absent(err) || isRefused(err) {
		p.lack(repository, "", "the d8 program is not there: "+err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	all := stable(tags)
	if len(all) == 0 {
		p.lack(repository, "", "no stable version of the d8 program")
		return nil
	}
	tag := all[len(all)-1].tag
	l := p.layout(archive, programPath, repository)
	ok, err := p.addIfThere(ctx, l, tag, tag)
	switch {
	case ok:
		p.component("d8", archive).Versions = []string{tag}
	case err == nil:
		p.lack(repository, tag, "listed, and not there")
	}
	return err
}

// stable are the versions among tags that are no previews, rising.
func stable(tags map[string]bool) []release {
	return slices.DeleteFunc(releases(sorted(tags)), func(r release) bool { return r.version.Prerelease() != "" })
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
		l.always = true
		ok, err := p.addIfThere(ctx, l, db[1], db[1])
		switch {
		case err != nil:
			return err
		case ok:
			c.Versions = append(c.Versions, db[0]+":"+db[1])
		case i == 0:
			p.lack(l.Repository, db[1], "not there: this edition has no vulnerability databases")
			return nil
		default:
			p.lack(l.Repository, db[1], "not there")
		}
	}
	return nil
}

// wanted are the tags of a repository that a range of versions chooses.
func (p *planner) wanted(ctx context.Context, repository string, c *constraint) ([]string, error) {
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

// internal plans the images that a file of an image, which is the version of a unit in a
// repository, names by digest. required says that the unit is not complete without them.
func (p *planner) internal(ctx context.Context, l *planned, repository, file string, data []byte, of unit, required bool) error {
	digests, err := digestsIn(data)
	if err != nil {
		return broken(repository, of.version, fmt.Errorf("%s: %w", file, err))
	}
	return p.each(ctx, len(digests), func(ctx context.Context, i int) error {
		if required {
			p.need(l, digests[i].Encoded(), of)
		}
		_, err := p.add(ctx, l, digests[i].Encoded(), digests[i].String())
		return err
	})
}
