package layoutstore

import "strings"

// maxName is the longest repository name in bytes, its root included.
const maxName = 255

// ValidName says whether s is a repository name: the grammar of the OCI
// distribution specification 1.1 ("Pulling manifests"), at most 255 bytes.
func ValidName(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for component := range strings.SplitSeq(s, "/") {
		if !validComponent(component) {
			return false
		}
	}
	return true
}

// validComponent matches [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*.
func validComponent(s string) bool {
	if s == "" || !alphanumeric(s[0]) || !alphanumeric(s[len(s)-1]) {
		return false
	}
	for i := 0; i < len(s); {
		if alphanumeric(s[i]) {
			i++
			continue
		}
		start := i
		for i < len(s) && !alphanumeric(s[i]) {
			i++
		}
		switch separator := s[start:i]; {
		case separator == ".", separator == "_", separator == "__":
		case strings.Trim(separator, "-") == "":
		default:
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

// ValidTag says whether s matches [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}.
func ValidTag(s string) bool {
	if s == "" || len(s) > 128 || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !alphanumeric(c) && !('A' <= c && c <= 'Z') && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

// Reference is an image reference, taken apart and not checked.
type Reference struct {
	Host   string // "" where the first segment is none
	Path   string
	Tag    string
	Digest string
}

// ParseReference takes HOST/PATH:TAG@DIGEST apart, all but the path optional.
// The first segment is a host only if it holds a dot or a colon or is localhost.
func ParseReference(s string) Reference {
	var r Reference
	s, r.Digest, _ = strings.Cut(s, "@")
	if first, rest, ok := strings.Cut(s, "/"); ok && (strings.ContainsAny(first, ".:") || first == "localhost") {
		r.Host, s = first, rest
	}
	last := strings.LastIndexByte(s, '/') + 1
	if name, tag, ok := strings.Cut(s[last:], ":"); ok {
		s, r.Tag = s[:last]+name, tag
	}
	r.Path = s
	return r
}
