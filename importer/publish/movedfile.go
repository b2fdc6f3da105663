package publish

import (
	"io/fs"
	"strconv"

	"github.com/layoutproxy/layoutproxy/layoutstore/fileid"
)

// MovedFile records a file or link of a bundle before it is moved or removed. If the process is killed
// meanwhile, the remaining files look like an incomplete or a different bundle. The next process moves or
// removes those files that are still in the recorded state.
type MovedFile struct {
	Name   FileName `json:"name"`
	Inside FileName `json:"inside,omitempty"` // path of the file in the store; empty if the store does not have it
	fileid.State
	Link bool `json:"link,omitempty"`
}

// NewMovedFile records the current state of a file. ok is false if the system cannot identify files.
func NewMovedFile(name string, info fs.FileInfo) (f MovedFile, ok bool) {
	state, ok := fileid.Of(info)
	return MovedFile{Name: FileName(name), State: state, Link: IsLink(info)}, ok
}

// IsUnchanged reports whether info describes the recorded file in its recorded state.
func (f MovedFile) IsUnchanged(info fs.FileInfo) bool {
	now, ok := fileid.Of(info)
	return ok && now == f.State && IsLink(info) == f.Link
}

// HasInode reports whether info describes the recorded file, even if its state has changed.
func (f MovedFile) HasInode(info fs.FileInfo) bool {
	now, ok := fileid.Of(info)
	return ok && now.SameFile(f.State)
}

// IsLink reports whether info describes a symbolic link.
func IsLink(info fs.FileInfo) bool { return info.Mode()&fs.ModeSymlink != 0 }

// FileName is a file name that may contain any bytes. In JSON, bytes that are not printable are escaped.
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
