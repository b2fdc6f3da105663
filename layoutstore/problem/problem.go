// Package problem defines the one type for anything that cannot be served as it should be: an
// archive that is incomplete, a blob that is missing or damaged, a tag that no registry can have.
//
// The code that reads a volume, an index or a manifest creates a [Problem]. Its callers add the
// file, the repository or the tags. So verify, import, push, pull, `/status` and the logs show the
// same values in the same words. An [Error] refuses content because of a problem.
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

// Kind says what is wrong.
type Kind string

// The kinds of problem.
const (
	Damaged     Kind = "damaged"      // content that does not match its digest or form
	Incomplete  Kind = "incomplete"   // missing content
	Conflict    Kind = "conflict"     // two contents for one name
	IllegalName Kind = "illegal-name" // a name that no registry can serve
	Limited     Kind = "limited"      // beyond a limit of layoutproxy or of the system
)

// Missing is the reason of a missing blob or manifest if the cause is unknown.
const Missing = "missing"

// Problem says what cannot be served as it should be, where it is, and why.
// Unknown fields are empty.
type Problem struct {
	Kind Kind `json:"kind"`
	// Path is a file or directory. If it is an archive, Entry is an entry of it. Missing
	// content should be there.
	Path  string `json:"path"`
	Entry string `json:"entry"`
	// Chunks are the chunks of the archive with the content, as "chunk 0003". If
	// Suspects is set, one of them is missing or damaged, the first one most likely.
	Chunks   []string `json:"chunks"`
	Suspects bool     `json:"-"`
	// Repository is the name of the repository below the first root, or in the registry that
	// has the content.
	Repository string `json:"repository"`
	// Tags are the known tags that lead to the content, sorted. Problems share the
	// list: do not change it. MoreTags is the number of tags that a report leaves out.
	Tags      []string      `json:"tags"`
	MoreTags  int           `json:"moreTags,omitempty"`
	Digest    digest.Digest `json:"digest"`
	MediaType string        `json:"mediaType"`
	// Reason says what is wrong and, if possible, what to do.
	Reason string `json:"reason"`
	// Err is the error behind the reason, for errors.Is and errors.As.
	Err error `json:"-"`

	// Layout is the path of the repository's layouts below the roots; empty if the
	// problem concerns no repository.
	Layout string `json:"-"`
	// TagsUnknown is set if the problem may hide tags that cannot be named: an index
	// that cannot be read, or the end of an archive's chain of headers.
	TagsUnknown bool `json:"-"`
	// Harmless is set if nothing is missing: the problem is reported, and changes no exit status.
	Harmless bool `json:"-"`
	// Transient is set if content could not be read for a reason that says nothing about it.
	Transient bool `json:"-"`
}

// IsFailure reports whether content is missing, wrong or not served because of the problem, so
// that a command exits with 3. Neither a conflict, whose later content is served, nor a harmless
// problem is a failure.
func (p Problem) IsFailure() bool { return p.Kind != Conflict && !p.Harmless }

// Cause returns the error behind the problem, or else an error with its reason.
func (p Problem) Cause() error {
	if p.Err != nil {
		return p.Err
	}
	return errors.New(p.Reason)
}

// maxNamed limits how many chunks and tags a text names one by one.
const maxNamed = 8

// Chunk returns the chunks to copy again as one text, such as "chunk 0003 and chunk 0004". Of
// suspects it returns only the most likely one.
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

// Tag returns the first of the tags, or the empty string.
func (p Problem) Tag() string {
	if len(p.Tags) == 0 {
		return ""
	}
	return p.Tags[0]
}

// TagNames names the first tags and counts the others, as "v1.0, v1.1 and 3 more".
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

// Bounded returns the problem with at most the first n tags.
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
	add("repository %s", p.Repository)
	if len(p.Tags) == 1 {
		add("tag %q", p.Tags[0])
	} else {
		add("tags %s", p.TagNames())
	}
	add("%s", string(p.Digest))
	add("%s", p.Reason)
	return strings.Join(parts, ": ")
}

// Summary returns the name of the archive, the reason and the chunks to copy again. It contains no
// path, because clients of a server read it.
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

// MarshalJSON adds "chunk" and "tag" to the fields: the chunk to copy again, and the first tag.
func (p Problem) MarshalJSON() ([]byte, error) {
	type fields Problem                                                               // without this method
	p.Chunks, p.Tags = append([]string{}, p.Chunks...), append([]string{}, p.Tags...) // no null
	return json.Marshal(struct {
		fields
		Chunk string `json:"chunk"`
		Tag   string `json:"tag"`
	}{fields(p), p.Chunk(), p.Tag()})
}

// Equal reports whether two problems are equal, except for Err.
func (p Problem) Equal(q Problem) bool {
	return p.Kind == q.Kind && p.Layout == q.Layout && p.MoreTags == q.MoreTags && p.MediaType == q.MediaType &&
		p.Suspects == q.Suspects && p.TagsUnknown == q.TagsUnknown && p.Harmless == q.Harmless && p.Transient == q.Transient &&
		slices.Equal(p.Chunks, q.Chunks) && Compare(p, q) == 0
}

// Compare orders problems by path and entry, then by repository, tags, digest and reason.
func Compare(p, q Problem) int {
	return cmp.Or(cmp.Compare(p.Path, q.Path), cmp.Compare(p.Entry, q.Entry), cmp.Compare(p.Repository, q.Repository),
		slices.Compare(p.Tags, q.Tags), cmp.Compare(p.Digest, q.Digest), cmp.Compare(p.Reason, q.Reason))
}

// reasonWithChunk returns the reason, and which chunk to copy again unless the reason names it.
func (p Problem) reasonWithChunk() string {
	if chunk := p.Chunk(); chunk != "" && !strings.Contains(p.Reason, chunk) {
		return p.Reason + ": copy " + chunk + " again"
	}
	return p.Reason
}

// Error refuses content because of a problem. It wraps the problem's Err, which is the error of
// the lookup.
type Error struct{ Problem Problem }

// Error names the archive but not its directory, because clients of a server read it.
func (e *Error) Error() string {
	p := e.Problem
	if p.Entry == "" {
		return fmt.Sprintf("%v: %s: %s", p.Err, p.Digest, p.Reason)
	}
	return fmt.Sprintf("%v: %s: %s: %s", p.Err, p.Digest, filepath.Base(p.Path), p.reasonWithChunk())
}

func (e *Error) Unwrap() error { return e.Problem.Err }
