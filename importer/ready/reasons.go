package ready

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// Kind is the kind of a [Reason].
type Kind string

// Kinds of reasons why a version is not ready.
const (
	AbsentVersion    Kind = "absent-version"
	MissingPlatform  Kind = "missing-platform"
	MissingInstaller Kind = "missing-installer"
	// MissingEntry is about the image of a version in the repository release-channel.
	MissingEntry   Kind = "missing-entry"
	MissingImage   Kind = "missing-image"
	MissingModule  Kind = "missing-module"
	MissingVersion Kind = "missing-version"
	MissingChannel Kind = "missing-channel"
	// Undiscoverable means that clusters cannot find a module, because its discovery tag is missing.
	Undiscoverable Kind = "missing-discovery"
	// UnreadableList means that a declaration cannot be read.
	UnreadableList Kind = "unreadable"
	// MissingStep is about a minor version between the cluster's version and a requested one.
	MissingStep Kind = "missing-step"
	NoUpgrade   Kind = "no-upgrade"
	// HiddenTags means that some content cannot be read and may contain further tags.
	HiddenTags Kind = "hidden-tags"
)

// Kinds of notes. A version with notes can be ready.
const (
	MissingStandalone Kind = "missing-standalone-installer"
	MissingDatabase   Kind = "missing-database"
	DifferentList     Kind = "different-list" // the platform image and the installer declare different images
	UnreadableOwnList Kind = "unreadable-list"
	MissingRelease    Kind = "missing-release" // a module's repository release has no image for a version
	OlderVersion      Kind = "older-version"
)

// Reason says why a version is not ready. It can also be a note about a version.
type Reason struct {
	Kind       Kind   `json:"kind"`
	Module     string `json:"module,omitempty"`
	Image      string `json:"image,omitempty"`
	Version    string `json:"version,omitempty"`
	Repository string `json:"repository,omitempty"` // path below the root

	Reference string `json:"reference,omitempty"` // tag or digest in the repository
	State     State  `json:"state,omitempty"`
	Detail    string `json:"detail,omitempty"`
	// Problems say, if known, why the image is missing and what to copy again.
	Problems []problem.Problem `json:"problems,omitempty"`
}

func aboutImage(kind Kind, i Image) Reason {
	return Reason{Kind: kind, Module: i.Module, Image: i.Name, Repository: i.Repository, Reference: i.Reference, State: i.State, Problems: firstProblems(i.Problems)}
}

// Limits for a reason: number of its problems, and number of tags per problem.
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

// String returns the reason in one line: what is wrong, where and, if known, what to do.
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
		return fmt.Sprintf("clusters cannot find module %s: repository \"modules\" has no tag %s", r.Module, r.Module)
	case UnreadableList:
		return "the declarations of " + r.place() + " cannot be read"
	case UnreadableOwnList:
		return "the platform image's own list of images cannot be compared with the installer's"
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

func (r Reason) subject() string {
	switch {
	case r.Module != "" && r.Image != "":
		return "module " + r.Module + " image " + r.Image
	case r.Module != "":
		return "module " + r.Module
	}
	return r.Image
}

// place returns REPOSITORY:TAG or REPOSITORY@DIGEST. For an image in the root, it returns only the tag or
// digest.
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

// cause returns the facts about a problem that an operator needs for fixing it.
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

// MarshalJSON implements json.Marshaler. It adds a field with the text of the reason.
func (r Reason) MarshalJSON() ([]byte, error) {
	type fields Reason // same fields, but without the method MarshalJSON
	return json.Marshal(struct {
		fields
		Text string `json:"text"`
	}{fields(r), r.String()})
}
