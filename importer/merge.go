package importer

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// indexes returns the new index of every repository that the bundle changes. For each repository,
// it calls change, which edits the index and counts the bundle's tags.
func (p *plan) indexes(ctx context.Context, report *Report, change func(context.Context, repository, *merging, *Tags) error) ([]journal.IndexChange, error) {
	var changes []journal.IndexChange
	for _, r := range p.repositories {
		report.Repositories++
		m, err := p.newMerging(ctx, r.path)
		if err != nil {
			return nil, err
		}
		if err := change(ctx, r, m, &report.Tags); err != nil {
			return nil, err
		}
		if !m.changed {
			continue
		}
		fresh, err := m.bytes()
		if err != nil {
			return nil, err
		}
		changes = append(changes, journal.IndexChange{Path: r.path, Old: m.old, New: fresh})
	}
	return changes, nil
}

// addDescriptors adds the bundle's descriptors of a repository to the index of the store.
func (p *plan) addDescriptors(ctx context.Context, r repository, m *merging, tags *Tags) error {
	want, err := p.findWanted(ctx, r, tags)
	if err != nil {
		return err
	}
	for _, w := range want {
		if w.tag != "" && m.releaseTag(w.tag, w.Digest, tags) {
			m.add(w)
		}
	}
	for _, w := range want {
		switch {
		case w.tag != "":
		case !m.named[w.Digest], m.taken[w.Digest] && !w.isReplaced():
			m.add(w)
		case !w.isReplaced():
			m.addAgain(w)
		}
	}
	isEmpty := len(r.graph.Manifests)+len(r.graph.Blobs) == 0 // an empty repository is published, too
	m.changed = m.changed || m.old == nil && (!m.known && isEmpty || p.receivesBlobs(r.path))
	return nil
}

// removeTags removes the tags of the bundle's archives from the index of a repository. If again is
// true, the store already has the archives, and removeTags only counts their tags.
func (r repository) removeTags(m *merging, again bool, tags *Tags) error {
	all, _ := r.repo.Tags("", -1)
	for _, tag := range all {
		d, err := r.repo.TagDigest(tag)
		if err != nil {
			return err
		}
		if again {
			tags.Same++
		} else {
			m.releaseTag(tag, d, tags)
		}
	}
	return nil
}

// releaseTag removes a tag from its entry in the index, so that another entry can get it. If the
// tag already has the digest d in the store, releaseTag changes nothing and returns false.
func (m *merging) releaseTag(tag string, d digest.Digest, tags *Tags) bool {
	switch old, err := m.union(tag); {
	case err == nil && old == d:
		tags.Same++
		return false
	case err == nil:
		tags.Replaced++
	default:
		tags.New++
	}
	m.untag(tag)
	return true
}

// receivesBlobs reports whether the import adds blobs to the layout at a path, which then needs an
// index.
func (p *plan) receivesBlobs(at string) bool {
	if p.receivers == nil {
		p.receivers = map[string][]*content{}
		for _, c := range p.contents {
			for _, place := range c.places {
				if c.proven {
					p.receivers[place] = append(p.receivers[place], c)
				}
			}
		}
	}
	return slices.ContainsFunc(p.receivers[at], func(c *content) bool { return p.isWanted(blobName(at, c.digest)) })
}

// merging is an index of the store that is being changed.
type merging struct {
	// old is the index before the change. It is nil if the store has no index at this path yet.
	old []byte
	doc map[string]json.RawMessage
	// entries are the descriptors of the index. Entries without a digest are kept unchanged.
	entries []wanted
	// byTag maps each tag to the positions of its descriptors in entries.
	byTag map[string][]int
	// foreign contains the positions of descriptors whose tag is that of another repository.
	foreign map[int]bool
	// replaced maps each digest to the positions of its descriptors that have lost their tag to another manifest.
	replaced map[digest.Digest][]int
	// union returns the digest that a tag has in the merged tree of the store.
	union func(tag string) (digest.Digest, error)
	// named contains each digest that is listed in an index of this repository in the store, except
	// in archives that will be removed.
	named map[digest.Digest]bool
	// taken contains each digest that is listed only in archives, with tags that other manifests have taken. A
	// prune may remove such a manifest, unless an index lists it without a tag.
	taken   map[digest.Digest]bool
	known   bool // whether the repository exists in the store
	changed bool
}

func (p *plan) newMerging(ctx context.Context, at string) (*merging, error) {
	m := &merging{named: map[digest.Digest]bool{}, taken: map[digest.Digest]bool{}, byTag: map[string][]int{}, foreign: map[int]bool{}, replaced: map[digest.Digest][]int{}, doc: map[string]json.RawMessage{
		"schemaVersion": json.RawMessage("2"),
		"mediaType":     json.RawMessage(`"` + ocispec.MediaTypeImageIndex + `"`),
	}}
	m.union = func(string) (digest.Digest, error) { return "", layoutstore.ErrRepositoryUnknown }
	if repo, err := p.target.At(at); err == nil {
		m.known = true
		m.union = repo.TagDigest
		for _, l := range repo.Layouts() {
			if p.session.isRetired(l) {
				continue
			}
			entries, err := l.Index(ctx)
			if err != nil {
				return nil, err
			}
			inArchive := p.session.store != nil && l.Volume() != p.session.options.Store
			for _, e := range entries {
				winner, err := m.union(e.Tag)
				isTaken := inArchive && err == nil && winner != e.Digest
				m.taken[e.Digest] = isTaken && (m.taken[e.Digest] || !m.named[e.Digest])
				m.named[e.Digest] = true
			}
		}
	}
	data, name, err := p.session.target.readIndex(ctx, at)
	if layoutstore.IsExhausted(err) || layoutstore.IsTransient(err) {
		return nil, fmt.Errorf("the store's %s: %w", name, err) // the index may be intact
	}
	if err == nil && data != nil {
		err = m.parse(data, at)
	}
	if err != nil {
		return nil, &DamagedError{name, err}
	}
	return m, nil
}

// DamagedError reports that an index of the store is damaged, so nothing can be added to it.
type DamagedError struct {
	Path string
	Err  error
}

func (e *DamagedError) Error() string { return fmt.Sprintf("the store's %s: %v", e.Path, e.Err) }
func (e *DamagedError) Unwrap() error { return e.Err }

func (m *merging) parse(data []byte, at string) error {
	entries, err := layoutstore.ParseIndex(data, at)
	if err != nil {
		return err
	}
	doc, raw, err := publish.IndexFields(data)
	if err != nil {
		return err
	}
	m.old, m.doc = data, doc
	m.entries = make([]wanted, len(raw))
	for i, r := range raw {
		m.entries[i].raw = r
	}
	several := layoutstore.HasTagsOfSeveralRepositories(at, entries)
	for _, e := range entries {
		m.entries[e.Number] = wanted{e.Descriptor, e.Tag, e.Raw}
		if several && e.Repository != "" {
			winner, err := m.union(e.Tag)
			m.foreign[e.Number] = err != nil || winner != e.Digest
		}
		m.record(e.Number)
	}
	return nil
}

func (m *merging) record(number int) {
	e := m.entries[number]
	if e.tag != "" {
		m.byTag[e.tag] = append(m.byTag[e.tag], number)
	} else if e.isReplaced() {
		m.replaced[e.Digest] = append(m.replaced[e.Digest], number)
	}
}

// untag removes a tag from its entries. The index still lists the manifest by its digest, so that
// running pulls can finish. If the tag is that of another repository, no image has taken it from the
// manifest.
func (m *merging) untag(tag string) {
	for _, i := range m.byTag[tag] {
		if m.foreign[i] {
			m.entries[i].tag = ""
		}
		m.entries[i], m.changed = m.entries[i].untagged(), true
		m.record(i)
	}
	delete(m.byTag, tag)
}

func (m *merging) add(w wanted) {
	m.entries = append(m.entries, w)
	m.record(len(m.entries) - 1)
	m.named[w.Digest], m.changed = true, true
}

// addAgain adds a descriptor without a tag, whose manifest the store already lists. If the manifest has lost
// its tag to another manifest, the store then keeps it nevertheless, because the bundle lists it by its digest.
func (m *merging) addAgain(w wanted) {
	for _, i := range m.replaced[w.Digest] {
		m.entries[i], m.changed = w, true
	}
	delete(m.replaced, w.Digest)
}

// bytes returns the new index. If a manifest has a descriptor with a tag, bytes omits its
// descriptors without a tag.
func (m *merging) bytes() ([]byte, error) {
	tagged := map[digest.Digest]bool{}
	for _, e := range m.entries {
		tagged[e.Digest] = tagged[e.Digest] || e.tag != ""
	}
	list := []json.RawMessage{}
	once := map[digest.Digest]bool{}
	for _, e := range m.entries {
		if e.Digest != "" && e.tag == "" {
			if tagged[e.Digest] || once[e.Digest] {
				continue
			}
			once[e.Digest] = true
		}
		list = append(list, e.raw)
	}
	raw, err := publish.Marshal(list)
	if err != nil {
		return nil, err
	}
	m.doc["manifests"] = raw
	return publish.Marshal(m.doc)
}
