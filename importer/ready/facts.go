package ready

import (
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/release"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// Facts are the declared images, and whether each is complete.
type Facts struct {
	// Deckhouse is set if there is a release channel, an installer or a module: images that declare
	// which others they need.
	Deckhouse bool
	Here      []string // all available versions of the platform, judged or not
	Builds    []Build  // the judged versions of the platform, in ascending order
	Modules   []Module
	Channels  []Channel // of the platform
	Databases []Image   // the vulnerability databases
	// Hidden are problems that may hide tags. Which tags is unknown.
	Hidden []problem.Problem
}

// State says whether an image is complete.
type State string

// The states of an image.
const (
	Complete State = "complete"
	Missing  State = "missing"
	Damaged  State = "damaged" // an index names the manifest, but a part of its graph is missing or damaged
)

// Presence says whether an image is complete, and what is wrong if it is not.
type Presence struct {
	State    State
	Digest   digest.Digest     // empty if the tag is missing
	Content  []Content         // of a complete image: manifests and blobs, without duplicates
	Problems []problem.Problem // why it is not complete, if known
}

// Content is a manifest or blob of an image.
type Content struct {
	Digest digest.Digest
	Size   int64 // bytes
}

// Image is an image that a version or module needs.
type Image struct {
	Module string // the module that declares it; empty if none does
	Name   string // the declared name
	// Repository is a path below the root, where "." is the root, and Reference a tag or digest.
	Repository string
	Reference  string
	Presence
}

// Unreadable is a declaration that cannot be read.
type Unreadable struct {
	Image  Image // the image with the declaration
	Detail string
}

// Build is a version of the platform.
type Build struct {
	Tag                                    string
	Platform, Installer, Standalone, Entry Image // Entry is the version's image in release-channel
	Declared                               []Image
	Own                                    []Image // declared by the list in the platform image; nil without a list
	Unreadable                             []Unreadable
	OwnUnreadable                          string // why the list in the platform image cannot be read
	Requirements                           release.Requirements
}

// Module is a module with its judged versions.
type Module struct {
	Name string
	Want release.Selector // zero if any version will do
	// Tags are all available versions. Undiscoverable is set if clusters cannot find the module,
	// because the list of modules has no tag with its name.
	Tags           []string
	Undiscoverable bool
	Versions       []ModuleVersion
	Channels       []Channel
}

// ModuleVersion is a version of a module.
type ModuleVersion struct {
	Tag          string
	Image, Entry Image   // Entry is the version's image in the module's release repository
	Declared     []Image // internal and extra images
	Unreadable   []Unreadable
}

// Channel is a release channel.
type Channel struct {
	Name       string
	Target     string // tag of the version that it points at; empty if the channel cannot be read
	Image      Image
	Unreadable string // why it cannot be read
	Here       bool   // whether the version that it points at is available
}
