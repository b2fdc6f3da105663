package bundle

import (
	"cmp"
	"slices"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
)

// Archive is an archive of a bundle: a tar file of layouts, possibly split into chunks.
type Archive struct {
	Name string `json:"name"` // NAME.tar

	Size    int64     `json:"size"` // bytes
	Layouts []*Layout `json:"layouts"`

	entries []entry
}

// Layout is one layout of a bundle. It contains the images of one repository.
type Layout struct {
	Path string `json:"path"` // path of the layout in the bundle; "." is the root layout

	Repository string  `json:"repository"` // name of the repository in the source registry
	Images     []Image `json:"images"`

	// Blobs are all manifests and blobs that the images need, sorted by digest.
	Blobs []closure.Descriptor `json:"-"`
}

// Image is an entry of an index.json.
type Image struct {
	Tag string `json:"tag,omitempty"` // empty if the image has no tag

	Reference string `json:"reference"` // full reference in the source registry: HOST/PATH:TAG or HOST/PATH@DIGEST
	closure.Descriptor
}

// NewArchive plans an archive of layouts. The archive's bytes depend only on the layouts.
func NewArchive(name string, layouts []*Layout) (*Archive, error) {
	slices.SortFunc(layouts, func(a, b *Layout) int { return walkOrder(a.Path, b.Path) })
	all, err := entriesOf(layouts)
	if err != nil {
		return nil, err
	}
	size, err := tarSize(all)
	if err != nil {
		return nil, err
	}
	return &Archive{Name: name, Size: size, Layouts: layouts, entries: all}, nil
}

// CountImages returns the number of entries in all index.json files of an archive.
func (a *Archive) CountImages() (n int) {
	for _, l := range a.Layouts {
		n += len(l.Images)
	}
	return n
}

// MergeLayouts returns the layouts of all archives. It merges layouts that have the same path.
func MergeLayouts(archives []*Archive) (all []*Layout) {
	byPath := map[string]*Layout{}
	for _, a := range archives {
		for _, l := range a.Layouts {
			m := byPath[l.Path]
			if m == nil {
				m = &Layout{Path: l.Path, Repository: l.Repository}
				byPath[l.Path] = m
				all = append(all, m)
			}
			m.Images = append(m.Images, l.Images...)
			m.Blobs = append(m.Blobs, l.Blobs...)
		}
	}
	for _, m := range all {
		slices.SortFunc(m.Images, compareReferences)
		m.Images = slices.Compact(m.Images)
		m.Blobs = SortBlobs(m.Blobs)
	}
	return all
}

// SortBlobs sorts blobs by digest and removes duplicates.
func SortBlobs(all []closure.Descriptor) []closure.Descriptor {
	slices.SortFunc(all, func(a, b closure.Descriptor) int { return cmp.Compare(a.Digest, b.Digest) })
	return slices.CompactFunc(all, func(a, b closure.Descriptor) bool { return a.Digest == b.Digest })
}

// compareReferences orders the images of an index.json by reference, then by tag.
func compareReferences(a, b Image) int {
	return cmp.Or(strings.Compare(a.Reference, b.Reference), strings.Compare(a.Tag, b.Tag))
}
