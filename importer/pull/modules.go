package pull

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strings"
)

// family is modules or packages: the same, but for their names.
type family struct {
	one      string // as a component and an archive are called
	segment  string // of the bundle
	source   string // repository whose tags are their names
	releases string // segment of the release channels and versions
	include  []string
	exclude  []string
}

func (p *planner) modules(ctx context.Context) error {
	at := strings.Trim(p.Selection.ModulesPathSuffix, "/")
	if p.Selection.ModulesPathSuffix == "" {
		at = "modules"
	}
	return p.family(ctx, family{"module", "modules", p.Source.Repository(at), "release", p.Selection.IncludeModules, p.Selection.ExcludeModules})
}

// names are all names of a family, and what is wanted of those that are.
func (p *planner) names(ctx context.Context, f family) (all []string, wanted map[string]named, err error) {
	include, err := parseNames(f.include)
	if err != nil {
		return nil, nil, err
	}
	exclude, err := parseNames(f.exclude)
	if err != nil {
		return nil, nil, err
	}
	if p.Selection.ProxyRegistry {
		for name := range exclude {
			delete(include, name)
		}
		return sortedKeys(include), include, nil
	}
	tags, err := p.src.tags(ctx, f.source)
	if err != nil && !absent(err) {
		return nil, nil, err
	}
	wanted = map[string]named{}
	for _, name := range sorted(tags) {
		if !validSegment(name) {
			return nil, nil, broken(f.source, name, unusable{fmt.Errorf("no name of a %s", f.one)})
		}
		all = append(all, name)
		_, excluded := exclude[name]
		n, included := include[name]
		if included || len(include) == 0 && !excluded {
			n.name = name
			wanted[name] = n
		}
	}
	for _, name := range sortedKeys(include) {
		if !tags[name] {
			p.gap(memberPiece, f.one+" "+name, f.source, name, "there is no such "+f.one)
		}
	}
	return all, wanted, nil
}

// family plans the wanted modules or packages.
func (p *planner) family(ctx context.Context, f family) error {
	all, wanted, err := p.names(ctx, f)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		p.lack(f.source, "", "it lists no "+f.segment)
		return nil
	}
	names := sortedKeys(wanted)
	members := make([]*member, len(names))
	for i, name := range names {
		members[i] = p.member(f, wanted[name])
	}
	return p.each(ctx, len(members), func(ctx context.Context, i int) error {
		return p.absorb(members[i].plan(ctx), memberPiece, members[i].shown.Name, "")
	})
}

// member is one module or package that is being planned.
type member struct {
	*planner
	want       named
	family     family
	archive    string
	at         string // in the bundle
	repository string
	shown      *Component
	releases   *planned // its release channels and versions
}

func (p *planner) member(f family, n named) *member {
	m := &member{planner: p, want: n, family: f, archive: f.one + "-" + n.name + ".tar",
		at: path.Join(f.segment, n.name), repository: path.Join(f.source, n.name)}
	m.shown = p.component(f.one+" "+n.name, m.archive)
	m.releases = p.layout(m.archive, path.Join(m.at, f.releases), path.Join(m.repository, f.releases))
	return m
}

func (m *member) plan(ctx context.Context) error {
	all, err := m.versions(ctx)
	if err != nil {
		return err
	}
	versions := m.complete(m.shown.Name, all)
	m.shown.Versions = versions
	if all := releases(versions); m.family.one == "module" && len(all) > 0 {
		m.mu.Lock()
		m.bundled.modules[m.want.name] = all
		m.mu.Unlock()
	}
	if len(versions) == 0 && len(all) > 0 {
		m.shown.note("nothing of it: no version is complete")
		return nil
	}
	if len(versions) == 0 {
		m.shown.note("nothing of it: no release channel, and no version is asked for")
		if len(m.want.ranges) > 0 {
			m.gap(memberPiece, m.shown.Name, m.repository, "", "no version of it is "+m.want.String())
		}
		return nil
	}
	return m.each(ctx, len(versions), func(ctx context.Context, i int) error {
		return m.absorb(m.version(ctx, versions[i]), memberPiece, m.shown.Name, versions[i])
	})
}

// versions are the tags that are wanted: what the release channels point at and what the
// constraints choose; tags alone, where only such are asked for.
func (m *member) versions(ctx context.Context) ([]string, error) {
	tags, err := m.pinned(ctx)
	if err != nil || m.want.isPinned() {
		return orderTags(tags), err
	}
	channels, gaps, err := m.channels(ctx, m.releases.Repository)
	if err != nil {
		return nil, err
	}
	if err := m.absorb(incomplete(gaps), memberPiece, m.shown.Name, ""); err != nil {
		return nil, err
	}
	for _, ch := range channels {
		tags = append(tags, ch.tag)
		if m.skips(m.shown.Name, ch.tag) {
			m.gap(memberPiece, m.shown.Name, m.releases.Repository, ch.name, "it points at "+ch.tag+", which is not complete")
			continue
		}
		m.shown.pointing(ch.name, ch.tag)
		if m.Selection.OnlyExtraImages {
			continue
		}
		if _, err := m.add(ctx, m.releases, ch.name, ch.name); err != nil {
			return nil, err
		}
	}
	for _, c := range m.want.ranges {
		chosen, err := m.wanted(ctx, m.repository, c)
		if err != nil {
			return nil, err
		}
		tags = append(tags, chosen...)
	}
	return orderTags(tags), nil
}

// pinned are the tags that are asked for. Where nothing else of the member is, channels
// of the bundle point at them: the named one, or all at a sole tag.
func (m *member) pinned(ctx context.Context) (tags []string, err error) {
	for _, c := range m.want.pins {
		tag, err := m.exact(ctx, m.repository, c.tag)
		if err != nil {
			return nil, err
		}
		tags = append(tags, tag)
		if !m.want.isPinned() || m.Selection.OnlyExtraImages || m.skips(m.shown.Name, tag) {
			continue
		}
		for _, channel := range pinnedChannels(c, len(m.want.pins)) {
			ok, err := m.alias(ctx, m.releases, channel, tag)
			if err != nil {
				return nil, err
			}
			if !ok {
				m.lack(m.releases.Repository, tag, "not there, so no release channel of the bundle points at it")
				break
			}
			m.shown.pointing(channel, tag)
		}
	}
	return tags, nil
}

// pinnedChannels are the channels of a bundle that point at the tag of a pin, of which
// there are so many.
func pinnedChannels(c *constraint, pins int) []string {
	switch {
	case c.channel != "":
		return []string{c.channel}
	case pins == 1:
		return allChannels()
	}
	return nil
}

// The files of a version's image that name others.
const (
	moduleDigests = "images_digests.json"
	moduleExtras  = "extra_images.json"
)

// version plans one version: its image, what the image names, and its release image.
func (m *member) version(ctx context.Context, tag string) error {
	main := m.layout(m.archive, m.at, m.repository)
	m.need(main, tag, unit{m.shown.Name, tag})
	d, err := m.src.resolve(ctx, m.repository, tag)
	if absent(err) {
		m.gapOf(main, newGap(m.repository, tag, "not there"), tag)
		return nil
	}
	if err == nil {
		d, err = m.choose(ctx, main, tag, tag, d)
	}
	if err != nil || d.Digest == "" {
		return err
	}
	files, err := m.src.imageFiles(ctx, m.repository, d, moduleDigests, moduleExtras)
	if err != nil {
		return broken(m.repository, tag, err)
	}
	if err := m.extras(ctx, main, tag, files[moduleExtras]); err != nil || m.Selection.OnlyExtraImages {
		return err
	}
	if _, err := m.add(ctx, main, tag, tag); err != nil {
		return err
	}
	ok, err := m.addIfThere(ctx, m.releases, tag, tag)
	if err != nil {
		return err
	}
	if !ok {
		m.lack(m.releases.Repository, tag, "not there")
	}
	if data := files[moduleDigests]; data != nil {
		return m.internal(ctx, main, m.repository, moduleDigests, data, unit{m.shown.Name, tag}, false)
	}
	return nil
}

// extras plans the extra images of a version, each in a layout of its own. Attestations of
// them are in the main layout.
func (m *member) extras(ctx context.Context, main *planned, tag string, data []byte) error {
	if data == nil {
		return nil
	}
	// A tag is a string or a number, which is taken as it is written.
	var doc map[string]json.RawMessage
	err := json.Unmarshal(data, &doc)
	for _, name := range sortedKeys(doc) {
		var text string
		if json.Unmarshal(doc[name], &text) != nil {
			var number json.Number
			if err = json.Unmarshal(doc[name], &number); err != nil {
				break
			}
			text = number.String()
		}
		at := path.Join(m.at, "extra", name)
		if path.Clean(name) != name || !validSegment(strings.ReplaceAll(name, "/", ".")) || text == "" {
			err = fmt.Errorf("%q: %q is no name and tag of an image", name, text)
			break
		}
		l := m.layout(m.archive, at, path.Join(m.repository, "extra", name))
		m.attestIn(l, main)
		if _, err := m.add(ctx, l, text, text); err != nil {
			return err
		}
	}
	if err != nil {
		return broken(m.repository, tag, unusable{fmt.Errorf("%s: %w", moduleExtras, err)})
	}
	return nil
}
