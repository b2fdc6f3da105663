package names

import "strings"

// Reference is an image reference, split but not validated.
type Reference struct {
	Host   string // "" if the first segment is not a host
	Path   string
	Tag    string
	Digest string
}

// ParseReference splits HOST/PATH:TAG@DIGEST, where everything but the path is optional. It accepts
// any text: validate the parts that you use.
func ParseReference(s string) Reference {
	var r Reference
	s, r.Digest, _ = strings.Cut(s, "@")
	r.Host, s = CutHost(s)
	last := strings.LastIndexByte(s, '/') + 1
	if name, tag, ok := strings.Cut(s[last:], ":"); ok {
		s, r.Tag = s[:last]+name, tag
	}
	r.Path = s
	return r
}

// CutHost splits HOST/REST. The host is empty if s has only one segment, or the first segment is
// not a host.
func CutHost(s string) (host, rest string) {
	if first, rest, ok := strings.Cut(s, "/"); ok && IsHost(first) {
		return first, rest
	}
	return "", s
}

// IsHost reports whether the first segment of a reference is a host, not part of the path: it
// contains a dot or a colon, or is localhost.
func IsHost(segment string) bool {
	return segment == "localhost" || strings.ContainsAny(segment, ".:")
}
