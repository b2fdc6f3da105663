package publish

import (
	"io/fs"
	"strconv"

	"github.com/layoutproxy/layoutproxy/layoutstore/fileid"
)

// MovedFile records a file or link before its name is moved or removed. A killed process leaves
// only some of the names, which look like an incomplete bundle, or like a different one. The next
// process completes the move of the files that are still in the recorded state.
type MovedFile struct {
	Name   FileName `json:"name"`
	Inside FileName `json:"inside,omitempty"` // its name in the store, if it has one
	fileid.State
	Link bool `json:"link,omitempty"`
}

// NewMovedFile returns a file in its present state. ok is false if the system cannot identify
// files.
func NewMovedFile(name string, info fs.FileInfo) (f MovedFile, ok bool) {
	state, ok := fileid.Of(info)
	return MovedFile{Name: FileName(name), State: state, Link: IsLink(info)}, ok
}

// IsUnchanged reports whether a file is the recorded one, in the same state.
func (f MovedFile) IsUnchanged(info fs.FileInfo) bool {
	now, ok := fileid.Of(info)
	return ok && now == f.State && IsLink(info) == f.Link
}

// HasInode reports whether a file is the recorded one, in any state.
func (f MovedFile) HasInode(info fs.FileInfo) bool {
	now, ok := fileid.Of(info)
	return ok && now.SameFile(f.State)
}

// IsLink reports whether info describes a symbolic link.
func IsLink(info fs.FileInfo) bool { return info.Mode()&fs.ModeSymlink != 0 }

// FileName is a file name of arbitrary bytes. Its JSON form escapes bytes that are not
// printable.
type FileName string

// MarshalText implements encoding.TextMarshaler.
func (n FileName) MarshalText() ([]byte, error) {
	quoted := strconv.Quote(string(n))
	return []byte(quoted[1 : len(quoted)-1]), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *FileName) UnmarshalText(text []byte) error {
	name, err := strconv.Unquote(`"` + string(text) + `"`)
	*n = FileName(name)
	return err
}
