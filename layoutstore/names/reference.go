package names

import "strings"

// Reference is an image reference that has been split into its parts. The parts are not validated.
type Reference struct {
	Host   string // empty if the first segment is not a host
	Path   string
	Tag    string
	Digest string
}

// ParseReference splits HOST/PATH:TAG@DIGEST. Everything but the path is optional. It accepts any
// text, so validate the parts that you use.
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

// CutHost splits HOST/REST. If the first segment is not a host, or there is no other segment, the
// host is empty.
func CutHost(s string) (host, rest string) {
	if first, rest, ok := strings.Cut(s, "/"); ok && IsHost(first) {
		return first, rest
	}
	return "", s
}

// IsHost reports whether the first segment of a reference is a host. A host contains a dot or a
// colon, or is localhost. Any other segment belongs to the path.
func IsHost(segment string) bool {
	return segment == "localhost" || strings.ContainsAny(segment, ".:")
}
