package deckhouse

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/release"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// family is either the modules or the packages. The same rules apply to both, with different names.
type family struct {
	// one is "module" or "package". Names of components and archives start with it.
	one string
	// segment is the first path segment of the members in the bundle.
	segment string
	// source is the repository whose tags are the names of the members.
	source string
	// releases is the last path segment of the layout that has release channels and versions.
	releases string
	include  []string
	exclude  []string
}

func (p *planner) planModules(ctx context.Context) error {
	at := strings.Trim(p.selection.ModulesPathSuffix, "/")
	if p.selection.ModulesPathSuffix == "" {
		at = "modules"
	}
	return p.planFamily(ctx, family{"module", "modules", p.draft.Root.Repository(at), "release", p.selection.IncludeModules, p.selection.ExcludeModules})
}

func (p *planner) planFamily(ctx context.Context, f family) error {
	all, wanted, err := p.chooseMembers(ctx, f)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		p.draft.AddMissing(f.source, "", "the repository lists no "+f.segment)
		return nil
	}
	names := sortedKeys(wanted)
	members := make([]*familyMember, len(names))
	for i, name := range names {
		members[i] = p.newMember(f, wanted[name])
	}
	return p.draft.Each(ctx, len(members), func(ctx context.Context, i int) error {
		m := members[i]
		return p.draft.Absorb(m.plan(ctx), part(member), pull.Unit{Component: m.shown.Name})
	})
}

// chooseMembers returns the names of all members of a family, and selectors for the chosen members.
func (p *planner) chooseMembers(ctx context.Context, f family) (all []string, wanted map[string]release.Selector, err error) {
	include, exclude := selectors(f.include), selectors(f.exclude)
	if p.selection.ProxyRegistry {
		for name := range exclude {
			delete(include, name)
		}
		return sortedKeys(include), include, nil
	}
	tags, err := p.source.Tags(ctx, f.source)
	if err != nil && !pull.IsAbsent(err) {
		return nil, nil, err
	}
	if err := checkNames(f, tags); err != nil {
		return nil, nil, err
	}
	for _, name := range sortedKeys(include) {
		if !tags[name] {
			p.draft.AddProblem(part(member), f.one+" "+name, f.source, name, "there is no such "+f.one)
		}
	}
	all = sortedKeys(tags)
	return all, chooseNames(all, include, exclude), nil
}

// checkNames fails if a name in the source cannot be used as one segment of a path.
func checkNames(f family, tags map[string]bool) error {
	for _, name := range sortedKeys(tags) {
		if !release.IsName(name) {
			return pull.ImageError(f.source, name, unusable("not the name of a %s", f.one))
		}
	}
	return nil
}

// chooseNames returns the included names or, if none are included, all names that are not excluded.
func chooseNames(all []string, include, exclude map[string]release.Selector) map[string]release.Selector {
	wanted := map[string]release.Selector{}
	for _, name := range all {
		_, excluded := exclude[name]
		s, included := include[name]
		if included || len(include) == 0 && !excluded {
			s.Name = name
			wanted[name] = s
		}
	}
	return wanted
}

type familyMember struct {
	planner    *planner
	want       release.Selector
	isModule   bool
	archive    string
	at         string // path of the module or package in the bundle
	repository string
	shown      *pull.Component
	// releases is the layout with the release channels and versions.
	releases *pull.Layout
}

func (p *planner) newMember(f family, want release.Selector) *familyMember {
	m := &familyMember{planner: p, want: want, isModule: f.one == "module", archive: f.one + "-" + want.Name + ".tar",
		at: path.Join(f.segment, want.Name), repository: path.Join(f.source, want.Name)}
	m.shown = p.draft.Component(f.one+" "+want.Name, m.archive)
	m.releases = p.layout(m.archive, path.Join(m.at, f.releases), path.Join(m.repository, f.releases), member)
	return m
}

func (m *familyMember) unit(version string) pull.Unit {
	return pull.Unit{Component: m.shown.Name, Version: version}
}

func (m *familyMember) plan(ctx context.Context) error {
	p := m.planner
	all, err := m.versions(ctx)
	if err != nil {
		return err
	}
	versions := p.draft.NotSkipped(m.shown.Name, all)
	m.shown.Versions = versions
	if all := release.ParseAll(versions); m.isModule && len(all) > 0 {
		p.mu.Lock()
		p.bundled.modules[m.want.Name] = all
		p.mu.Unlock()
	}
	if len(versions) == 0 && len(all) > 0 {
		m.shown.Note("not pulled: no version is complete")
		return nil
	}
	if len(versions) == 0 {
		if len(m.want.Ranges) == 0 {
			m.shown.Note("not pulled: it has no release channel that could be read, and no version is requested")
		} else {
			m.shown.Note("not pulled: it has no release channel that could be read, and no version matches %s", m.want)
			p.draft.AddProblem(part(member), m.shown.Name, m.repository, "", "no version matches "+m.want.String())
		}
		return nil
	}
	return p.draft.Each(ctx, len(versions), func(ctx context.Context, i int) error {
		return p.draft.Absorb(m.planVersion(ctx, versions[i]), part(member), m.unit(versions[i]))
	})
}

// versions returns the tags to pull: tags that the user names, tags that release channels point at,
// and tags that the constraints select. If the user selects only named tags, it returns only these.
func (m *familyMember) versions(ctx context.Context) ([]string, error) {
	p := m.planner
	tags, err := m.planPins(ctx)
	if err != nil || m.want.IsPinned() {
		return release.SortTags(tags), err
	}
	pointed, err := m.planChannels(ctx)
	if err != nil {
		return nil, err
	}
	tags = append(tags, pointed...)
	for _, c := range m.want.Ranges {
		chosen, err := p.chooseTags(ctx, m.repository, c)
		if err != nil {
			return nil, err
		}
		tags = append(tags, chosen...)
	}
	return release.SortTags(tags), nil
}

// planChannels plans the release channels, and returns the tags that they point at.
func (m *familyMember) planChannels(ctx context.Context) (tags []string, err error) {
	draft := m.planner.draft
	channels, problems, err := m.planner.readChannels(ctx, m.releases.Repository)
	if err != nil {
		return nil, err
	}
	if err := draft.Absorb(pull.Incomplete(problems), part(member), m.unit("")); err != nil {
		return nil, err
	}
	for _, ch := range channels {
		tags = append(tags, ch.Tag)
		if draft.Skips(m.unit(ch.Tag)) {
			draft.AddProblem(part(member), m.shown.Name, m.releases.Repository, ch.Name, fmt.Sprintf("it points at %s, which is incomplete", ch.Tag))
			continue
		}
		m.shown.Point(ch.Name, ch.Tag)
		if m.planner.selection.OnlyExtraImages {
			continue
		}
		if _, err := draft.Add(ctx, m.releases, ch.Name, ch.Name); err != nil {
			return nil, err
		}
	}
	return tags, nil
}

// planPins returns the tags that the user names. If the user selects nothing else, release channels
// of the bundle point at these tags. If the user gives a tag with a channel, only this channel
// points at the tag. If the user gives a single tag without a channel, all channels point at it.
func (m *familyMember) planPins(ctx context.Context) (tags []string, err error) {
	draft := m.planner.draft
	for _, c := range m.want.Pins {
		tag, err := m.planner.findExactTag(ctx, m.repository, c.Tag)
		if err != nil {
			return nil, err
		}
		tags = append(tags, tag)
		if !m.want.IsPinned() || m.planner.selection.OnlyExtraImages || draft.Skips(m.unit(tag)) {
			continue
		}
		for _, channel := range pinnedChannels(c, len(m.want.Pins)) {
			ok, err := draft.Alias(ctx, m.releases, channel, tag)
			if err != nil {
				return nil, err
			}
			if !ok {
				draft.AddMissing(m.releases.Repository, tag, "missing, so no release channel in the bundle points at this version")
				break
			}
			m.shown.Point(channel, tag)
		}
	}
	return tags, nil
}

// pinnedChannels returns the channels of the bundle that point at a tag that the user names. pins
// is the number of such tags.
func pinnedChannels(c *release.Constraint, pins int) []string {
	switch {
	case c.Channel != "":
		return []string{c.Channel}
	case pins == 1:
		return release.Channels()
	}
	return nil
}

// planVersion plans one version: its image, its release image, and the images that its image lists.
func (m *familyMember) planVersion(ctx context.Context, tag string) error {
	p, draft := m.planner, m.planner.draft
	main := p.layout(m.archive, m.at, m.repository, member)
	draft.Need(main, tag, m.unit(tag))
	image, ok, err := draft.Choose(ctx, main, tag, tag)
	if !ok && err == nil {
		draft.AddTagProblem(main, tag, problem.Missing)
	}
	if err != nil || image.Digest == "" {
		return err
	}
	files, err := p.source.Files(ctx, m.repository, image, release.ModuleDigests, release.ModuleExtras)
	if err != nil {
		return pull.ImageError(m.repository, tag, err)
	}
	if err := m.planExtraImages(ctx, main, tag, files[release.ModuleExtras]); err != nil || p.selection.OnlyExtraImages {
		return err
	}
	if _, err := draft.Add(ctx, main, tag, tag); err != nil {
		return err
	}
	if err := p.addOrNote(ctx, m.releases, tag); err != nil {
		return err
	}
	if files[release.ModuleDigests] == nil {
		return nil
	}
	images, err := release.ParseDigests(files[release.ModuleDigests])
	if err != nil {
		return pull.ImageError(m.repository, tag, unusable("%s: %w", release.ModuleDigests, err))
	}
	return p.planImages(ctx, main, release.References(images), nil)
}

// planExtraImages plans the extra images of a version. Each image gets its own layout, but its
// attestations are in the main layout.
func (m *familyMember) planExtraImages(ctx context.Context, main *pull.Layout, tag string, file []byte) error {
	if file == nil {
		return nil
	}
	images, err := release.ParseExtraImages(file)
	if err != nil {
		return pull.ImageError(m.repository, tag, unusable("%s: %w", release.ModuleExtras, err))
	}
	for _, i := range images {
		l := m.planner.layout(m.archive, path.Join(m.at, "extra", i.Name), path.Join(m.repository, "extra", i.Name), member,
			func(r *pull.Rules) { r.AttestIn = main })
		if _, err := m.planner.draft.Add(ctx, l, i.Reference, i.Reference); err != nil {
			return err
		}
	}
	return nil
}
