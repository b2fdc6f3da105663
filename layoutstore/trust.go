package layoutstore

import (
	"fmt"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
)

// trust is the signed content of a source: tags, manifests and blobs in its signed inventories.
type trust struct {
	key   *inventory.VerifyKey
	lists []*inventory.Inventory // signed inventories; a store has several, one per import
	repos map[string]*signedRepository
}

// signedRepository contains the signed tags and manifests of one repository.
type signedRepository struct {
	tags  map[signedTag]bool     // signed tags; several have the same name if imports replaced a tag
	names map[string]bool        // names of signed tags
	all   map[digest.Digest]bool // signed manifests, with or without a tag
}

// signedTag is a signed tag with the digest of its manifest. It is a map key. A map for each tag
// would take more memory than the tags themselves.
type signedTag struct {
	name   string
	digest digest.Digest
}

// newTrust returns the content of inventories that the key has signed, or nil if key is nil.
func newTrust(key *inventory.VerifyKey, lists ...*inventory.Inventory) *trust {
	if key == nil {
		return nil
	}
	t := &trust{key: key, lists: lists, repos: map[string]*signedRepository{}}
	for _, i := range lists {
		for _, r := range i.Repositories {
			s := t.repos[r.Path]
			if s == nil {
				s = &signedRepository{map[signedTag]bool{}, map[string]bool{}, map[digest.Digest]bool{}}
				t.repos[r.Path] = s
			}
			for _, tag := range r.Tags {
				s.tags[signedTag{tag.Name, tag.Digest}], s.names[tag.Name], s.all[tag.Digest] = true, true, true
			}
			for _, m := range r.Untagged {
				s.all[m.Digest] = true
			}
		}
	}
	return t
}

// hasBlob reports whether a blob or manifest may be read. If t is nil, everything may be read.
func (t *trust) hasBlob(d digest.Digest) bool {
	return t == nil || slices.ContainsFunc(t.lists, func(i *inventory.Inventory) bool { _, ok := i.Blob(d); return ok })
}

// notSigned returns the error for a blob that no signed inventory lists.
func notSigned(d digest.Digest) error {
	return &ProblemError{Problem: Problem{Kind: Limited, Digest: d, Reason: "no signed inventory lists it", Err: fs.ErrNotExist}}
}

// signedEntries returns the signed entries of the layout's index.json, without unsigned tags.
func (p *indexedLayout) signedEntries(all []IndexEntry) []IndexEntry {
	tags := make(map[int]string, len(p.index.entries))
	for _, e := range p.index.entries {
		tags[int(e.number)] = e.tag
	}
	var signed []IndexEntry
	for _, e := range all {
		if tag, ok := tags[e.Number]; ok {
			e.Tag = tag
			signed = append(signed, e)
		}
	}
	return signed
}

// signedOnly returns a copy of a layout without unsigned descriptors and tags. It also returns a
// problem that reports the unsigned ones, or nil. If only the tag of a manifest is unsigned, the
// manifest is still served by digest. The layout is nil if nothing in its repository is signed.
func (t *trust) signedOnly(l *indexedLayout) (*indexedLayout, *Problem) {
	signed := *l
	signed.trust = t
	r := t.repos[l.path]
	var refused []int
	kept := make([]entry, 0, len(l.index.entries))
	changed := false
	for i, e := range l.index.entries {
		d := e.digest()
		if r == nil || !r.all[d] {
			refused, changed = append(refused, i), true
			continue
		}
		if e.tag != "" && !r.tags[signedTag{e.tag, d}] {
			// A tag that is signed for another manifest is not reported, because a later archive may
			// have replaced the tag.
			if !r.names[e.tag] && len(l.index.named) < 2 {
				refused = append(refused, i)
			}
			e.tag, changed = "", true
		}
		kept = append(kept, e)
	}
	if changed {
		signed.index = &index{sum: l.index.sum, entries: kept, ballot: l.index.ballot, named: l.index.named, problems: l.index.problems}
	}
	if len(refused) == 0 && r != nil {
		return &signed, nil
	}
	p := l.where().problem(Problem{Kind: Limited, Layout: l.path, Repository: l.path, Reason: "no signed inventory lists it: it is not served"})
	if len(refused) > 0 { // if no entry was refused, the layout is empty
		first := l.index.entries[refused[0]]
		p.Tags, p.Digest = tagList(first.tag), first.digest()
	}
	if n := len(refused) - 1; n > 0 {
		p.Reason += fmt.Sprintf(" (and %d more descriptors in this layout)", n)
	}
	if r == nil {
		return nil, &p
	}
	return &signed, &p
}

// filtered is the result of signedOnly for a layout. Scans reuse it, so that an unchanged layout
// keeps the same pointer.
type filtered struct {
	trust   *trust
	signed  *indexedLayout // nil if nothing in its repository is signed
	problem *Problem
}

// keepSigned removes unsigned content from the layouts of a state if the source has a key. It adds
// problems about this content.
func (s *source) keepSigned(next *sourceState) {
	t := next.inventory.trust
	if t == nil {
		return
	}
	next.filtered = map[*indexedLayout]filtered{}
	for _, h := range next.volumes() {
		for _, l := range h.layouts {
			f, ok := s.last.filtered[l]
			if !ok || f.trust != t {
				f.trust = t
				f.signed, f.problem = t.signedOnly(l)
			}
			next.filtered[l] = f
			if f.problem != nil {
				next.problems = append(next.problems, *f.problem)
			}
		}
	}
}

// served returns the layouts of a volume that are served, without unsigned content.
func (st *sourceState) served(h *volumeState) []*indexedLayout {
	if st.filtered == nil {
		return h.layouts
	}
	all := make([]*indexedLayout, 0, len(h.layouts))
	for _, l := range h.layouts {
		if f := st.filtered[l]; f.signed != nil {
			all = append(all, f.signed)
		}
	}
	return all
}
