package deckhouse

import (
	"cmp"
	"context"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/release"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

const (
	// programPath is the path of the d8 program's layout. The layouts of its plugins are below it.
	programPath = "deckhouse-cli"
	// databasesPath is the path above the layouts of the vulnerability databases.
	databasesPath = "security"
)

func (p *planner) planInstaller(ctx context.Context) error {
	const at, archive = "installer", "installer.tar"
	asked := p.selection.InstallerTag != ""
	tag := cmp.Or(p.selection.InstallerTag, "latest")
	repository, err := p.sharedWithTag(ctx, at, tag)
	if err != nil {
		return err
	}
	of := sharedImage
	if asked {
		of = named
	}
	c, l := p.draft.Component(at, archive), p.layout(archive, at, repository, of)
	ok, err := p.draft.AddIfThere(ctx, l, tag, tag)
	switch {
	case ok:
		c.Versions = []string{tag}
	case err == nil && asked:
		p.draft.AddProblem(part(named), c.Name, repository, tag, problem.Missing)
	case err == nil:
		p.draft.AddMissing(repository, tag, problem.Missing)
	}
	return err
}

// planProgram plans one version of the d8 program with its complete index. If the user names a
// version, it is required. Otherwise, it is optional, because a bundle can be used without the
// program.
func (p *planner) planProgram(ctx context.Context) error {
	const archive = programPath + ".tar"
	tag := p.selection.DeckhouseCLITag
	if tag == "" && p.selection.ProxyRegistry {
		return nil
	}
	if tag == "" {
		return p.planNewestProgram(ctx, archive)
	}
	repository, err := p.sharedWithTag(ctx, programPath, tag)
	if err != nil {
		return err
	}
	p.draft.Component("d8", archive).Versions = []string{tag}
	_, err = p.draft.Add(ctx, p.layout(archive, programPath, repository, named), tag, tag)
	return err
}

func (p *planner) planNewestProgram(ctx context.Context, archive string) error {
	repository, tags, err := p.sharedTags(ctx, programPath)
	if pull.IsAbsent(err) || pull.IsRefused(err) {
		p.draft.AddMissing(repository, "", "the d8 program is missing: "+err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	all := release.Stable(sortedKeys(tags))
	if len(all) == 0 {
		p.draft.AddMissing(repository, "", "no stable version of the d8 program")
		return nil
	}
	tag := all[len(all)-1].Tag
	ok, err := p.draft.AddIfThere(ctx, p.layout(archive, programPath, repository, sharedImage), tag, tag)
	switch {
	case ok:
		p.draft.Component("d8", archive).Versions = []string{tag}
	case err == nil:
		p.draft.AddMissing(repository, tag, "missing, although the source lists the tag")
	}
	return err
}

func (p *planner) planDatabases(ctx context.Context) error {
	const archive = "security.tar"
	c := p.draft.Component("security", archive)
	for i, db := range release.Databases() {
		at := databasesPath + "/" + db.Name
		repository := p.draft.Root.Repository(at)
		ok, err := p.draft.AddIfThere(ctx, p.layout(archive, at, repository, sharedImage, keepEmpty), db.Tag, db.Tag)
		switch {
		case err != nil:
			return err
		case ok:
			c.Versions = append(c.Versions, db.Name+":"+db.Tag)
		case i == 0:
			p.draft.AddMissing(repository, db.Tag, "missing: this edition has no vulnerability databases")
			return nil
		default:
			p.draft.AddMissing(repository, db.Tag, problem.Missing)
		}
	}
	return nil
}
