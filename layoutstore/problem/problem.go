// Package problem defines the type [Problem] for anything that cannot be served as it should be.
// Examples are an incomplete archive, a missing or damaged blob, and a tag that no registry can serve.
//
// The code that reads a volume, an index or a manifest creates a Problem. Its callers add the file,
// the repository or the tags. So verify, import, push, pull, `/status` and the logs show the same
// values in the same words. An [Error] is the error for content that is refused because of a problem.
package problem

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Kind is the kind of a problem.
type Kind string

// These are the kinds of problems.
const (
	// Damaged content does not match its digest or its format.
	Damaged Kind = "damaged"
	// Incomplete means that content is missing.
	Incomplete Kind = "incomplete"
	// Conflict means that two contents have the same name.
	Conflict Kind = "conflict"
	// IllegalName is a name that no registry can serve.
	IllegalName Kind = "illegal-name"
	// Limited means that a rule or limit prevents something: for example, a compressed archive is not read.
	Limited Kind = "limited"
)

// Missing is the reason for a missing blob or manifest if the cause is unknown.
const Missing = "missing"

// Problem describes what cannot be served as it should be, where it is, and why. A field is empty
// if its value is unknown.
type Problem struct {
	Kind Kind `json:"kind"`
	// Path is the file or directory with the problem, or in which content is missing. If Path is an
	// archive, Entry is an entry in it.
	Path  string `json:"path"`
	Entry string `json:"entry"`
	// Chunks contains the chunks of the archive in which the content is stored, or that are missing,
	// such as "chunk 0003". If Suspects is set, at least one of them is missing or damaged, most
	// likely the first.
	Chunks   []string `json:"chunks"`
	Suspects bool     `json:"-"`
	// Repository is the name under which the repository is served, with the first root. For content
	// in a registry, it is the name in that registry.
	Repository string `json:"repository"`
	// Tags contains the known tags that lead to the content, sorted. Do not change it, because
	// problems share it. MoreTags is the number of tags that a report omits.
	Tags      []string      `json:"tags"`
	MoreTags  int           `json:"moreTags,omitempty"`
	Digest    digest.Digest `json:"digest"`
	MediaType string        `json:"mediaType"`
	// Reason says what is wrong and, if possible, what to do.
	Reason string `json:"reason"`
	// Err is the error behind the reason, for errors.Is and errors.As.
	Err error `json:"-"`

	// Layout is the path of the repository's layouts, relative to the roots. It is empty if the
	// problem does not concern a repository.
	Layout string `json:"-"`
	// TagsUnknown is set if the problem may hide tags that cannot be named. For example, an index
	// cannot be read, or an archive cannot be read to its end.
	TagsUnknown bool `json:"-"`
	// Harmless is set if all content can still be served. Such a problem is reported, but does not
	// change an exit status.
	Harmless bool `json:"harmless,omitempty"`
	// Transient is set if the content could not be read, although it may be intact.
	Transient bool `json:"-"`
}

// IsFailure reports whether a command must exit with status 3, because content is missing, wrong or not
// served. A conflict is not a failure, because the later content is served. Nor is a harmless problem.
func (p Problem) IsFailure() bool { return p.Kind != Conflict && !p.Harmless }

// IsUnnamedRoot reports whether the problem is only that the layout at the root of a tree has no name,
// because no root repository is set. import, pull and inventory ignore it, because they need no name.
func (p Problem) IsUnnamedRoot() bool {
	return p.Kind == IllegalName && p.Layout == "." && p.Repository == "" && len(p.Tags) == 0
}

// Cause returns the error behind the problem. If there is none, it returns an error with the reason.
func (p Problem) Cause() error {
	if p.Err != nil {
		return p.Err
	}
	return errors.New(p.Reason)
}

// maxNamed is the maximum number of chunks or tags that a text lists one by one.
const maxNamed = 8

// Chunk returns the chunks to copy again, such as "chunk 0003 and chunk 0004". If Suspects is set,
// it returns only the most likely chunk.
func (p Problem) Chunk() string {
	switch n := len(p.Chunks); {
	case n == 0:
		return ""
	case p.Suspects:
		return p.Chunks[0]
	case n > maxNamed:
		return p.Chunks[0] + " to " + p.Chunks[n-1]
	}
	return strings.Join(p.Chunks, " and ")
}

// Tag returns the first tag, or the empty string if there is none.
func (p Problem) Tag() string {
	if len(p.Tags) == 0 {
		return ""
	}
	return p.Tags[0]
}

// TagNames lists the first tags and counts the rest, as in "v1.0, v1.1 and 3 more".
func (p Problem) TagNames() string {
	var quoted [maxNamed]string
	for i, tag := range p.Tags[:min(len(p.Tags), maxNamed)] {
		quoted[i] = OneLine(tag)
	}
	names := strings.Join(quoted[:min(len(p.Tags), maxNamed)], ", ")
	if more := len(p.Tags) + p.MoreTags - maxNamed; more > 0 {
		names += fmt.Sprintf(" and %d more", more)
	}
	return names
}

// Bounded returns a copy of the problem with at most n tags.
func (p Problem) Bounded(n int) Problem {
	if more := len(p.Tags) - n; more > 0 {
		p.Tags, p.MoreTags = slices.Clone(p.Tags[:n]), p.MoreTags+more
	}
	return p
}

// String returns the problem on one line.
func (p Problem) String() string {
	parts := []string{string(p.Kind)}
	add := func(format, value string) {
		if value != "" {
			parts = append(parts, fmt.Sprintf(format, value))
		}
	}
	add("%s", OneLine(p.Path))
	add("%s", OneLine(p.Entry))
	if chunk := p.Chunk(); chunk != "" && !strings.Contains(p.Reason, chunk) {
		parts[len(parts)-1] += " in " + chunk
	}
	add("repository %s", OneLine(p.Repository))
	if len(p.Tags) == 1 {
		add("tag %q", p.Tags[0])
	} else {
		add("tags %s", p.TagNames())
	}
	add("%s", string(p.Digest))
	add("%s", OneLine(p.Reason))
	return strings.Join(parts, ": ")
}

// Summary returns the name of the archive, the reason, and the chunks to copy again. It contains no
// directory, because clients of a server read it.
func (p Problem) Summary() string {
	text := filepath.Base(p.Path) + ": " + p.Reason
	if len(p.Chunks) == 0 || strings.Contains(p.Reason, "again") {
		return text
	}
	again := p.Chunk()
	if p.Suspects {
		again = strings.Join(p.Chunks[:min(len(p.Chunks), maxNamed)], " or ")
	}
	return text + ": copy " + again + " again"
}

// MarshalJSON adds two keys to the fields. "chunk" contains the chunks to copy again, and "tag" the
// first tag.
func (p Problem) MarshalJSON() ([]byte, error) {
	// The type fields has no methods, so Marshal does not call this method again.
	type fields Problem
	// The lists must not be nil, which would be written as null.
	p.Chunks, p.Tags = append([]string{}, p.Chunks...), append([]string{}, p.Tags...)
	return json.Marshal(struct {
		fields
		Chunk string `json:"chunk"`
		Tag   string `json:"tag"`
	}{fields(p), p.Chunk(), p.Tag()})
}

// UnmarshalJSON reads what MarshalJSON has written. It derives Suspects from the key "chunk", so that
// a client of /status names the same chunks as the server.
func (p *Problem) UnmarshalJSON(data []byte) error {
	type fields Problem
	var doc struct {
		fields
		Chunk string `json:"chunk"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return err
	}
	*p = Problem(doc.fields)
	p.Suspects = len(p.Chunks) > 1 && doc.Chunk == p.Chunks[0]
	return nil
}

// Equal reports whether two problems are equal. It ignores Err.
func (p Problem) Equal(q Problem) bool {
	return p.Kind == q.Kind && p.Layout == q.Layout && p.MoreTags == q.MoreTags && p.MediaType == q.MediaType &&
		p.Suspects == q.Suspects && p.TagsUnknown == q.TagsUnknown && p.Harmless == q.Harmless && p.Transient == q.Transient &&
		slices.Equal(p.Chunks, q.Chunks) && Compare(p, q) == 0
}

// Compare orders problems by path and entry, and then by repository, tags, digest and reason.
func Compare(p, q Problem) int {
	return cmp.Or(cmp.Compare(p.Path, q.Path), cmp.Compare(p.Entry, q.Entry), cmp.Compare(p.Repository, q.Repository),
		slices.Compare(p.Tags, q.Tags), cmp.Compare(p.Digest, q.Digest), cmp.Compare(p.Reason, q.Reason))
}

// reasonWithChunk returns the reason. It adds the chunk to copy again unless the reason already names it.
func (p Problem) reasonWithChunk() string {
	if chunk := p.Chunk(); chunk != "" && !strings.Contains(p.Reason, chunk) {
		return p.Reason + ": copy " + chunk + " again"
	}
	return p.Reason
}

// Error is the error for content that is refused because of a problem. It wraps the problem's Err,
// which is the error of looking up the content.
type Error struct{ Problem Problem }

// Error returns a message. If the problem has an Entry, the message names the archive, but not its
// directory, because clients of a server read the message.
func (e *Error) Error() string {
	p := e.Problem
	if p.Entry == "" {
		return fmt.Sprintf("%v: %s: %s", p.Err, p.Digest, p.Reason)
	}
	return fmt.Sprintf("%v: %s: %s: %s", p.Err, p.Digest, filepath.Base(p.Path), p.reasonWithChunk())
}

func (e *Error) Unwrap() error { return e.Problem.Err }
