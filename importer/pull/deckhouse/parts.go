package deckhouse

import "github.com/layoutproxy/layoutproxy/importer/pull"

type kind string

const (
	member          kind = "module or package" // including its versions, channels, internal images and extra images
	build           kind = "version of the platform"
	platformChannel kind = "release channel of the platform"
	sharedImage     kind = "installer, database, program or plugin" // unless the user requests it by name
	named           kind = "content that the user names"
)

// part says whether a bundle can be published without some content of a kind, and gives the reason.
// It applies to pulls whose bundle may be incomplete.
func part(k kind) pull.Part {
	switch k {
	case member:
		return pull.Part{Optional: true, Reason: "the other modules and packages do not need it"}
	case build:
		return pull.Part{Optional: true, Reason: "the version is left out, and the other versions do not need it"}
	case sharedImage:
		return pull.Part{Optional: true, Reason: "a bundle can be used without it"}
	case platformChannel:
		return pull.Part{Reason: "the release channels of the platform say which versions belong to the bundle"}
	case named:
		return pull.Part{Reason: "it was asked for by name"}
	}
	return pull.Part{Reason: "the plan requires it"}
}
