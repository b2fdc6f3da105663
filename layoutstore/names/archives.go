package names

import "regexp"

var chunkName = regexp.MustCompile(`^(.+\.tar)\.([0-9]{4,})\.chunk$`)

// ParseChunk splits the file name of a chunk, NAME.tar.NNNN.chunk, into the name of its archive,
// NAME.tar, and the digits of its number. ok is false for any other name.
func ParseChunk(file string) (archive, number string, ok bool) {
	m := chunkName.FindStringSubmatch(file)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}
