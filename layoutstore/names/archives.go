package names

import "regexp"

var chunkName = regexp.MustCompile(`^(.+\.tar)\.([0-9]{4,})\.chunk$`)

// ParseChunk splits the file name of a chunk, NAME.tar.NNNN.chunk. It returns the name of the
// archive, NAME.tar, and the digits of the chunk's number. ok is false for any other file name.
func ParseChunk(file string) (archive, number string, ok bool) {
	m := chunkName.FindStringSubmatch(file)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}
