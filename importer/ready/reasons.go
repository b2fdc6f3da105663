package ready

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// Kind is the kind of a [Reason].
type Kind string

// The kinds of reason why a version is not ready.
const (
	AbsentVersion    Kind = "absent-version"    // a requested version is missing
	MissingPlatform  Kind = "missing-platform"  // the image of the platform
	MissingInstaller Kind = "missing-installer" // the version's image in install
	MissingEntry     Kind = "missing-entry"     // the version's image in release-channel
	MissingImage     Kind = "missing-image"     // an image that the platform or a module declares
	MissingModule    Kind = "missing-module"    // a module that is named or required
	MissingVersion   Kind = "missing-version"   // a version of a module
	MissingChannel   Kind = "missing-channel"   // the release channels of a module
	Undiscoverable   Kind = "missing-discovery" // the tag by which a cluster finds a module
	UnreadableList   Kind = "unreadable"        // a declaration cannot be read
	MissingStep      Kind = "missing-step"      // a minor version between two others
	NoUpgrade        Kind = "no-upgrade"        // Deckhouse does not upgrade from one version to the other
	HiddenTags       Kind = "hidden-tags"       // content that cannot be read may have more tags
)

// The kinds of note. A version with notes can be ready.
const (
	MissingStandalone Kind = "missing-standalone-installer"
	MissingDatabase   Kind = "missing-database"
	DifferentList     Kind = "different-list" // the list in the platform image differs from that in the installer
	UnreadableOwnList Kind = "unreadable-list"
	MissingRelease    Kind = "missing-release" // a module's version has no image of its own in release
	OlderVersion      Kind = "older-version"
)

// Reason is why a version is not ready, or a note about it.
type Reason struct {
	Kind       Kind   `json:"kind"`
	Module     string `json:"module,omitempty"`
	Image      string `json:"image,omitempty"`
	Version    string `json:"version,omitempty"`
	Repository string `json:"repository,omitempty"` // a path below the root
	Reference  string `json:"reference,omitempty"`  // a tag or digest
	State      State  `json:"state,omitempty"`
	Detail     string `json:"detail,omitempty"`
	// Problems say why the image is missing and what to copy again, if known.
	Problems []problem.Problem `json:"problems,omitempty"`
}

// aboutImage returns a reason about an image that is not complete.
func aboutImage(kind Kind, i Image) Reason {
	return Reason{Kind: kind, Module: i.Module, Image: i.Name, Repository: i.Repository, Reference: i.Reference, State: i.State, Problems: firstProblems(i.Problems)}
}

// Limits on what one reason lists: problems, and tags of each problem.
const (
	maxProblems = 4
	maxTags     = 16
)

func firstProblems(all []problem.Problem) (first []problem.Problem) {
	for _, p := range all[:min(len(all), maxProblems)] {
		first = append(first, p.Bounded(maxTags))
	}
	return first
}

// String returns the reason on one line: what, where and, if known, what to do.
func (r Reason) String() string {
	parts := []string{r.what()}
	if r.Detail != "" {
		parts = append(parts, r.Detail)
	}
	for _, p := range r.Problems {
		parts = append(parts, cause(p))
	}
	return strings.Join(parts, ": ")
}

// what returns the first part of the text: what is missing or damaged.
func (r Reason) what() string {
	switch r.Kind {
	case AbsentVersion:
		return r.Version + " is missing"
	case MissingModule:
		return "module " + r.Module + " is missing"
	case MissingVersion:
		if r.Reference == "" {
			return fmt.Sprintf("module %s has no version %s", r.Module, r.Version)
		}
	case MissingChannel:
		if r.Reference == "" {
			return "module " + r.Module + " has no release channel"
		}
	case Undiscoverable:
		return fmt.Sprintf("clusters do not find module %s: the repository modules has no tag %s", r.Module, r.Module)
	case UnreadableList:
		return "the declarations of " + r.place() + " cannot be read"
	case UnreadableOwnList:
		return "the platform's own list of images cannot be compared"
	case MissingDatabase:
		if r.Image == "" {
			return "no vulnerability databases: pull --no-security-db skips them, and not every edition has them"
		}
	case HiddenTags:
		return "versions and modules may be hidden"
	case MissingStep, NoUpgrade, DifferentList, OlderVersion:
		return r.Version
	}
	return fmt.Sprintf("%s %s: %s", r.State, r.subject(), r.place())
}

// subject names what is missing or damaged.
func (r Reason) subject() string {
	switch {
	case r.Module != "" && r.Image != "":
		return "module " + r.Module + " image " + r.Image
	case r.Module != "":
		return "module " + r.Module
	}
	return r.Image
}

// place returns REPOSITORY:TAG or REPOSITORY@DIGEST. In the root it is the tag or digest alone.
func (r Reason) place() string {
	if r.Repository == rootPath {
		return r.Reference
	}
	sep := ":"
	if strings.Contains(r.Reference, ":") {
		sep = "@"
	}
	return r.Repository + sep + r.Reference
}

// cause returns the part of a problem that an operator needs to fix it.
func cause(p problem.Problem) string {
	text := p.Reason
	if chunk := p.Chunk(); chunk != "" && !strings.Contains(text, chunk) {
		text += ": copy " + chunk + " again"
	}
	for _, at := range []string{p.Entry, p.Path} {
		if at != "" {
			text = at + ": " + text
		}
	}
	return text
}

// MarshalJSON writes the reason with its text.
func (r Reason) MarshalJSON() ([]byte, error) {
	type fields Reason // a type without this method
	return json.Marshal(struct {
		fields
		Text string `json:"text"`
	}{fields(r), r.String()})
}
