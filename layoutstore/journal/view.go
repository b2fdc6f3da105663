package journal

import (
	"errors"
	"slices"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// View is the state of a store that a scan goes by. Nil is that of a source that is no
// store.
type View struct {
	state   State
	journal *header // nil where no import is being published
}

// ReadView decides which state of a store a reader sees at dir, for loose indexes and
// for packed archives: the one before the import that is being published. That import
// counts from when the state has its generation: a journal that is not of a later one
// hides nothing, and only waits to be removed. The view is nil where dir is no store.
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

// Same says whether two views are of one state.
func (v *View) Same(other *View) bool {
	if v == nil || other == nil {
		return v == other
	}
	if v.state.Generation != other.state.Generation || (v.journal == nil) != (other.journal == nil) {
		return false
	}
	return v.journal == nil || v.journal.same(other.journal)
}

// PackedAs says under which name an archive came into the store, and in which
// generation: 0 for one that no import brought.
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

// Hides says whether an archive is one that the import brings which is being published.
func (v *View) Hides(archive string) bool {
	if !v.Publishing() {
		return false
	}
	_, before := v.PackedAs(archive)
	return before == 0 && slices.ContainsFunc(v.journal.Packed, func(p Packed) bool { return p.File == archive && !p.There })
}

// Publishing says whether an import is being published.
func (v *View) Publishing() bool { return v != nil && v.journal != nil }

// OldIndex is where the index of the layout at path was stored before the import that is
// being published; nil where the layout had none. ok says whether that import changes it.
func (v *View) OldIndex(path string) (where extent.List, ok bool) {
	if !v.Publishing() {
		return nil, false
	}
	return v.journal.oldIndex(path)
}
