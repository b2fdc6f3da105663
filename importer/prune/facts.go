package prune

import (
	"cmp"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// Facts describe the content of a store as far as decisions need it.
type Facts struct {
	Repositories []*Repository // by path
	Volumes      []Volume      // the loose files first, then the archives, oldest first
	Declarations
}

// Volume is a part of the store: its loose files, or one archive.
type Volume struct {
	File    string // name of the archive; empty for loose files
	Retired bool   // an earlier prune has removed the tags of the archive
	Due     bool   // its grace period is over
}

// Repository is a repository of the store.
type Repository struct {
	Path      string
	Images    []Image // by digest
	Manifests map[digest.Digest]Manifest
	// Copies lists the volumes that have a copy of a manifest or blob with the right size.
	Copies map[digest.Digest][]int
	Layers []Layer // in order: a later one wins a tag
	// Unclear says why nothing may be removed from the repository; empty if removing is allowed.
	Unclear string
}

// Image is a manifest that an index of the repository names.
type Image struct {
	Digest digest.Digest
	Tags   []string // sorted
	// Replaced is the tag that the manifest had before another one took it; empty if unknown.
	Replaced string
	Since    time.Time // when it was added to the store; zero if unknown
	// Pruned is when its grace period ends, if an earlier prune removed its tags; otherwise zero.
	Pruned time.Time
}

// Layer is the index of the repository in one volume.
type Layer struct {
	Volume  int
	Entries []Entry
}

// Entry is a descriptor in an index.
type Entry struct {
	Digest digest.Digest
	Tag    string // empty if it has none
}

// Manifest is a manifest of a repository and what it leads to.
type Manifest struct {
	Children []digest.Digest
	Blobs    []digest.Digest
	Subject  digest.Digest // empty if it has none
	Gap      string        // why it cannot be read; empty if it can
}

// Place names an image: a repository, and a tag or digest.
type Place struct{ Repository, Reference string }

// Release is a version of the platform, of a module or of a package, and what belongs to it.
type Release struct {
	Of  string // path of the module or package; "." is the platform
	Tag string
	// Own are the images of the version itself. If one of them is kept, all are.
	Own      []Place
	Declared []Place // images that it declares
	// Unreadable says why the list of declared images cannot be read; empty if it can.
	Unreadable string
}

// Channel is a release channel.
type Channel struct {
	Place
	Of string // as in [Release]
	// Target is the tag of the release that it points at. Unreadable says why that is unknown.
	Target     string
	Unreadable string
}

// image returns the image with a digest, or nil.
func (r *Repository) image(d digest.Digest) *Image {
	i, ok := slices.BinarySearchFunc(r.Images, d, func(i Image, d digest.Digest) int { return cmp.Compare(i.Digest, d) })
	if !ok {
		return nil
	}
	return &r.Images[i]
}

// isIn reports whether a volume has an index of the repository.
func (r *Repository) isIn(volume int) bool {
	return slices.ContainsFunc(r.Layers, func(l Layer) bool { return l.Volume == volume })
}
