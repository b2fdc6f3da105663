package ready

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/release"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// Facts are the images that versions and modules declare, and whether each image is complete.
type Facts struct {
	// Deckhouse is set if there is a release channel, an installer or a module. Only such images declare
	// which other images they need.
	Deckhouse bool
	Here      []string // all available versions of the platform, including those that are not judged

	Builds   []Build // judged versions of the platform, in ascending order
	Modules  []Module
	Channels []Channel // release channels of the platform

	Databases []Image // images with vulnerability databases

	// Hidden are problems that may hide tags, without saying which tags.
	Hidden []problem.Problem
}

// State says whether an image is complete.
type State string

// States of an image.
const (
	Complete State = "complete"
	Missing  State = "missing"
	Damaged  State = "damaged" // an index lists the image, but a part of its graph is missing or damaged
)

// Presence says whether an image is complete, and what is wrong if it is not.
type Presence struct {
	State  State
	Digest digest.Digest // digest of the image; empty if its tag is missing

	Content []Content // manifests and blobs of a complete image, without duplicates

	Problems []problem.Problem // why the image is not complete, if known
}

// Content is a manifest or blob of an image.
type Content struct {
	Digest digest.Digest
	Size   int64 // bytes
}

// Image is an image that a version or module needs.
type Image struct {
	Module string // module that declares the image; empty if no module does

	Name string // name of the image in the declaration

	// Repository is the path below the root; "." means the root itself. Reference is a tag or digest.
	Repository string
	Reference  string
	Presence
}

// Unreadable describes a declaration that cannot be read.
type Unreadable struct {
	Image  Image // image with the declaration
	Detail string
}

// Build is a version of the platform, with its images.
type Build struct {
	Tag                                    string
	Platform, Installer, Standalone, Entry Image // Entry is the version's image in the repository release-channel
	Declared                               []Image
	Own                                    []Image // images in the platform image's own list; nil if it has no list
	Unreadable                             []Unreadable
	OwnUnreadable                          string // why the platform image's own list cannot be read
	Requirements                           release.Requirements
}

// isInstallerRead reports whether the installer's lists of images could be read. If not, images may be missing in Declared.
func (b Build) isInstallerRead() bool {
	return b.Installer.State == Complete && !slices.ContainsFunc(b.Unreadable, func(u Unreadable) bool {
		return u.Image.Repository == b.Installer.Repository
	})
}

// Module is a module with its judged versions.
type Module struct {
	Name string
	Want release.Selector // wanted versions; zero means any version

	// Tags are all available versions. Undiscoverable is set if the repository modules has no tag with the
	// module's name, so that clusters cannot find the module.
	Tags           []string
	Undiscoverable bool
	Versions       []ModuleVersion
	Channels       []Channel
}

// ModuleVersion is a version of a module.
type ModuleVersion struct {
	Tag          string
	Image, Entry Image // Entry is the version's image in the module's repository release

	Declared   []Image // internal and extra images of the module
	Unreadable []Unreadable
}

// Channel is a release channel of the platform or of a module.
type Channel struct {
	Name       string
	Target     string // version to which the channel points; empty if unknown
	Image      Image
	Unreadable string // why the channel cannot be read

	Here bool // whether the target is available
}
