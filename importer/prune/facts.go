package prune

import (
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// Facts describe the content of a store as far as decisions need it.
type Facts struct {
	Repositories []Repository // by path
	Volumes      []Volume     // the tree of loose files first, then archives, oldest first
	Releases     []Release
	Channels     []Channel
	// Platform reports whether the store has releases of the platform.
	Platform bool
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
	// Unclear says why nothing may be removed from the repository. It is empty if there is no
	// such reason.
	Unclear string
}

// Image is a manifest that an index of the repository names.
type Image struct {
	Digest digest.Digest
	Tags   []string // sorted
	// Replaced is the tag that the manifest had before another one took it; empty if unknown.
	Replaced string
	Since    time.Time // since when it is in the store; zero if unknown
	// Pruned is when its grace period ends, if an earlier prune removed its tags; otherwise
	// zero.
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
	Tag    string // empty where it has none
}

// Manifest is a manifest of a repository and what it leads to.
type Manifest struct {
	Children []digest.Digest
	Blobs    []digest.Digest
	Subject  digest.Digest // empty where it has none
	Gap      string        // why it cannot be read; empty if it can
}

// Place names an image: a repository, and a tag or digest.
type Place struct{ Repository, Reference string }

// Release is a version of the platform, of a module or of a package, and what belongs to it.
type Release struct {
	Of  string // path of the module or package; "." is the platform
	Tag string
	// Own are the images of the version itself. If one of them is kept, all are.
	Own []Place
	// Declared are the images that it declares.
	Declared []Place
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

// image returns the image of a digest, or nil.
func (r *Repository) image(d digest.Digest) *Image {
	i, ok := slices.BinarySearchFunc(r.Images, d, func(i Image, d digest.Digest) int {
		switch {
		case i.Digest < d:
			return -1
		case i.Digest > d:
			return 1
		}
		return 0
	})
	if !ok {
		return nil
	}
	return &r.Images[i]
}
