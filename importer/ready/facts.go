package ready

import (
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/release"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// Facts are what is declared, and what is there of it.
type Facts struct {
	// Deckhouse is set where there is a release channel, an installer or a module: content
	// that declares what it needs.
	Deckhouse bool
	Here      []string // versions of the platform that are here, judged or not
	Builds    []Build  // of the platform, by version
	Modules   []Module
	Channels  []Channel // of the platform
	Databases []Image   // the vulnerability databases
	// Hidden are problems that may hide tags: nobody can name what is behind them.
	Hidden []problem.Problem
}

// State is how much of an image is there.
type State string

// The states of an image.
const (
	Complete State = "complete"
	Missing  State = "missing"
	Damaged  State = "damaged" // it is named, and something that it leads to is missing or wrong
)

// Presence says how much of an image is there.
type Presence struct {
	State    State
	Digest   digest.Digest     // empty where a tag is missing
	Content  []Content         // of a complete image: manifests and blobs, each once
	Problems []problem.Problem // why it is not complete, where that is known
}

// Content is a manifest or blob of an image.
type Content struct {
	Digest digest.Digest
	Size   int64 // bytes
}

// Image is an image that something needs.
type Image struct {
	Module string // that declares it; empty for what declares nothing
	Name   string // by which it is declared
	// Repository is a path below the root, where "." is the root, and Reference a tag or digest.
	Repository string
	Reference  string
	Presence
}

// Unreadable says that a declaration cannot be read.
type Unreadable struct {
	Image  Image // that has the declaration
	Detail string
}

// Build is a version of the platform.
type Build struct {
	Tag                                    string
	Platform, Installer, Standalone, Entry Image // Entry is that of the version in release-channel
	Declared                               []Image
	Own                                    []Image // that the platform's own list declares; nil without a list
	Unreadable                             []Unreadable
	OwnUnreadable                          string // why the platform's own list cannot be read
	Requirements                           release.Requirements
}

// Module is a module, with those of its versions that are asked for.
type Module struct {
	Name string
	Want release.Selector // zero where any version will do
	// Tags are all versions that are here. Undiscoverable is set where a cluster does not
	// see the module, as the list of modules has no tag of its name.
	Tags           []string
	Undiscoverable bool
	Versions       []ModuleVersion
	Channels       []Channel
}

// ModuleVersion is a version of a module.
type ModuleVersion struct {
	Tag          string
	Image, Entry Image   // Entry is that of the version in the module's release
	Declared     []Image // internal and extra images
	Unreadable   []Unreadable
}

// Channel is a release channel.
type Channel struct {
	Name       string
	Target     string // tag of the version that it points at; empty where that cannot be read
	Image      Image
	Unreadable string
	// Here is set where the version that it points at is here.
	Here bool
}
