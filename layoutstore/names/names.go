// Package names defines which repository names, tags, references, digest paths and chunk names are
// valid. All packages use this package, so they agree on what is valid.
//
// [CheckRepository] and [CheckTag] return why a name is invalid. [IsRepository] and [IsTag] only
// return whether it is valid. [ParseReference] splits a reference, and [ParseChunk] splits the file
// name of a chunk. [BlobPath] and [ParseBlobPath] convert between a digest and its path in a
// layout. [ReferrersTag] and [IsDigestTag] are for tags that are made from a digest.
//
// The grammars are from the OCI distribution specification 1.1 ("Pulling manifests"). go-digest checks
// digests. This package checks names byte by byte instead of with regular expressions, because it checks
// names for every request and every index entry. Fuzz tests compare the results with distribution/reference.
package names

import (
	"errors"
	"fmt"
	"strings"
)

// These are the maximum lengths of names in bytes.
const (
	// MaxRepository limits a repository name, including the root. The specification warns that some
	// clients refuse longer names, and include the host in the length.
	MaxRepository = 255
	// MaxTag limits a tag, as the grammar does.
	MaxTag = 128
)

// These are the reasons why a name is invalid, for use with errors.Is.
var (
	ErrEmpty   = errors.New("it is empty")
	ErrTooLong = errors.New("it is too long")
	ErrGrammar = errors.New("it breaks the grammar")
)

// CheckRepository returns nil if s is a repository name. Otherwise it returns ErrEmpty, ErrTooLong
// or ErrGrammar, with details.
func CheckRepository(s string) error {
	switch {
	case s == "":
		return ErrEmpty
	case len(s) > MaxRepository:
		return tooLong(s, MaxRepository)
	}
	for component := range strings.SplitSeq(s, "/") {
		if !isComponent(component) {
			return fmt.Errorf("%w: segment %q must consist of a-z and 0-9, with \".\", \"_\", \"__\" or dashes only in between", ErrGrammar, component)
		}
	}
	return nil
}

// IsRepository reports whether s is a repository name.
func IsRepository(s string) bool { return CheckRepository(s) == nil }

// CheckTag returns nil if s is a tag. Otherwise it returns ErrEmpty, ErrTooLong or ErrGrammar, with details.
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

// isComponent reports whether s matches [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*.
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
		for !isAlphanumeric(s[i]) { // this ends, because the last byte is alphanumeric
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
