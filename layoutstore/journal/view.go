package journal

import (
	"errors"
	"slices"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// View is the state of a store that a scan sees. nil is the view of a source that is not a store.
type View struct {
	state   State
	journal *header // nil if no import is being published
}

// ReadView decides which state of the store at dir readers see. While an import is being published,
// readers see the state before it, both for unpacked layouts and for archives. An import is visible
// once its generation is in the state. A journal whose generation is not later than that of the
// state hides nothing: it is left over. The view is nil if dir is not a store.
func ReadView(dir string) (*View, error) {
	s, err := ReadState(dir)
	if errors.Is(err, ErrNotStore) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	h, err := readHeader(dir)
	if h != nil && h.Generation <= s.Generation {
		h = nil
	}
	return &View{s, h}, err
}

// Same reports whether two views show the same state.
func (v *View) Same(other *View) bool {
	if v == nil || other == nil {
		return v == other
	}
	if v.state.Generation != other.state.Generation || (v.journal == nil) != (other.journal == nil) {
		return false
	}
	return v.journal == nil || v.journal.same(other.journal)
}

// PackedAs returns the name that an archive had before its import, and the generation of the
// import. The generation is 0 if the archive was not imported.
func (v *View) PackedAs(file string) (name string, generation uint64) {
	if v == nil {
		return file, 0
	}
	for _, p := range v.state.Packed {
		if p.File == file {
			return p.Name, p.Generation
		}
	}
	return file, 0
}

// IsRetired reports whether a prune has removed the tags of an archive.
func (v *View) IsRetired(file string) bool {
	return v != nil && slices.ContainsFunc(v.state.Packed, func(p Packed) bool { return p.File == file && p.Retired != nil })
}

// Hides reports whether readers must not see an archive, because it belongs to an import that is
// being published, or because a prune is removing it.
func (v *View) Hides(archive string) bool {
	if v != nil && slices.ContainsFunc(v.state.Packed, func(p Packed) bool { return p.File == archive && p.Dropped }) {
		return true
	}
	if !v.Publishing() {
		return false
	}
	_, before := v.PackedAs(archive)
	return before == 0 && slices.ContainsFunc(v.journal.Packed, func(p Packed) bool { return p.File == archive && !p.There })
}

// Publishing reports whether an import is being published.
func (v *View) Publishing() bool { return v != nil && v.journal != nil }

// OldIndex returns the place of the index that the layout at path has until the import is
// published. where is nil if the layout had no index. ok reports whether the import changes the
// layout.
func (v *View) OldIndex(path string) (where extent.List, ok bool) {
	if !v.Publishing() {
		return nil, false
	}
	i, ok := v.journal.byPath[path]
	if !ok {
		return nil, false
	}
	return v.journal.oldBytes(i), true
}
