// Package names defines valid repository names, tags, references, digest paths and chunk names.
//
// Every package uses it, so a name that one accepts is valid for all: [CheckRepository] and
// [CheckTag] return why a name is invalid, [IsRepository] and [IsTag] only whether it is
// valid. [ParseReference] splits a reference, and [ParseChunk] the file name of a chunk.
// [BlobPath] and [ParseBlobPath] convert between a digest and its file in an image layout.
// [ReferrersTag] and [IsDigestTag] are for tags that consist of a digest.
//
// The grammars are those of the OCI distribution specification 1.1 ("Pulling manifests").
// Digests are checked by go-digest. Names are checked byte by byte, because every request
// and every entry of an index needs that; fuzz tests compare the results with the regular
// expressions of distribution/reference.
package names

import (
	"errors"
	"fmt"
	"strings"
)

// Limits of names, in bytes.
const (
	// MaxRepository is the longest repository name, root included. The specification warns
	// that clients may not accept longer names, even including the host.
	MaxRepository = 255
	// MaxTag is the longest tag of the grammar.
	MaxTag = 128
)

// Reasons why a name is invalid, for errors.Is.
var (
	ErrEmpty   = errors.New("it is empty")
	ErrTooLong = errors.New("it is too long")
	ErrGrammar = errors.New("it breaks the grammar")
)

// CheckRepository returns why s is not a repository name, or nil. Errors: ErrEmpty,
// ErrTooLong, ErrGrammar.
func CheckRepository(s string) error {
	switch {
	case s == "":
		return ErrEmpty
	case len(s) > MaxRepository:
		return tooLong(s, MaxRepository)
	}
	for component := range strings.SplitSeq(s, "/") {
		if !isComponent(component) {
			return fmt.Errorf("%w: segment %q is not a-z and 0-9 with \".\", \"_\", \"__\" or dashes between them", ErrGrammar, component)
		}
	}
	return nil
}

// IsRepository reports whether s is a repository name.
func IsRepository(s string) bool { return CheckRepository(s) == nil }

// CheckTag returns why s is not a tag, or nil. Errors: ErrEmpty, ErrTooLong, ErrGrammar.
func CheckTag(s string) error {
	switch {
	case s == "":
		return ErrEmpty
	case len(s) > MaxTag:
		return tooLong(s, MaxTag)
	case s[0] == '.' || s[0] == '-':
		return fmt.Errorf("%w: it begins with %q", ErrGrammar, s[0])
	}
	for i := range len(s) {
		if !isTagByte(s[i]) {
			return fmt.Errorf("%w: it contains %q", ErrGrammar, s[i])
		}
	}
	return nil
}

// IsTag reports whether s is a tag.
func IsTag(s string) bool { return CheckTag(s) == nil }

func tooLong(s string, limit int) error {
	return fmt.Errorf("%w: %d bytes, more than %d", ErrTooLong, len(s), limit)
}

// isComponent matches [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*.
func isComponent(s string) bool {
	if s == "" || !isAlphanumeric(s[0]) || !isAlphanumeric(s[len(s)-1]) {
		return false
	}
	for i := 0; i < len(s); {
		if isAlphanumeric(s[i]) {
			i++
			continue
		}
		start := i
		for !isAlphanumeric(s[i]) { // the last byte is alphanumeric
			i++
		}
		if !isSeparator(s[start:i]) {
			return false
		}
	}
	return true
}

func isSeparator(s string) bool {
	return s == "." || s == "_" || s == "__" || strings.Trim(s, "-") == ""
}

func isAlphanumeric(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

func isTagByte(c byte) bool {
	return isAlphanumeric(c) || 'A' <= c && c <= 'Z' || c == '_' || c == '.' || c == '-'
}
