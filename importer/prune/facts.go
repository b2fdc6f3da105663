package prune

import (
	"cmp"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// Facts describe the content of a store. They have everything that [Decide] needs to know.
type Facts struct {
	Repositories []*Repository // sorted by path

	Volumes []Volume // the loose files, then the archives from the oldest to the newest
	Declarations
}

// Volume is a part of the store: its loose files, which are not in an archive, or one archive.
type Volume struct {
	File string // name of the archive; empty for loose files

	Retired bool // whether an earlier prune has removed the tags of the archive

	Due bool // whether the grace period of a retired archive is over
}

// Repository is a repository of the store.
type Repository struct {
	Path      string
	Images    []Image // by digest
	Manifests map[digest.Digest]Manifest
	// Copies lists for each manifest or blob which volumes have a copy with the right size. It omits copies
	// whose content was found damaged. Each number is a position in Facts.Volumes.
	Copies map[digest.Digest][]int
	Layers []Layer // if several layers have the same tag, the last of these layers wins

	// Unclear says why nothing may be removed from the repository. It is empty if images may be removed.
	Unclear string
}

// Image is a manifest that an index of a repository lists.
type Image struct {
	Digest digest.Digest
	Tags   []string // sorted

	// Replaced is the tag that another manifest has taken from this one; empty if none or unknown.
	Replaced string
	Since    time.Time // when the image was added to the store; zero if unknown

	// Pruned is the end of the grace period if an earlier prune removed the image's tags; otherwise zero.
	Pruned time.Time
}

// Layer is the index.json that a repository has in one volume.
type Layer struct {
	Volume  int
	Entries []Entry
}

// Entry is one descriptor in the index of a Layer.
type Entry struct {
	Digest digest.Digest
	Tag    string // empty if the descriptor has no tag
}

// Manifest lists the manifests and blobs to which a manifest refers.
type Manifest struct {
	Children []digest.Digest
	Blobs    []digest.Digest
	Subject  digest.Digest // empty if the manifest has no subject

	Gap string // why the manifest cannot be read; empty if it can
}

// Place names an image by its repository and a tag or digest.
type Place struct{ Repository, Reference string }

// Release is a version of the platform, of a module or of a package, with its images.
type Release struct {
	Of  string // path of the module or package; "." means the platform
	Tag string
	// Own lists the images of the version itself. If one of them is kept, all of them are kept.
	Own      []Place
	Declared []Place // other images that the release declares

	// Unreadable says why the list of declared images cannot be read. It is empty if it can be read.
	Unreadable string
}

// Channel is a release channel.
type Channel struct {
	Place
	Of string // path of the module or package; "." means the platform

	// Target is the tag of the release to which the channel points. If it is unknown, Unreadable says why.
	Target     string
	Unreadable string
}

func (r *Repository) image(d digest.Digest) *Image {
	i, ok := slices.BinarySearchFunc(r.Images, d, func(i Image, d digest.Digest) int { return cmp.Compare(i.Digest, d) })
	if !ok {
		return nil
	}
	return &r.Images[i]
}

func (r *Repository) isIn(volume int) bool {
	return slices.ContainsFunc(r.Layers, func(l Layer) bool { return l.Volume == volume })
}
