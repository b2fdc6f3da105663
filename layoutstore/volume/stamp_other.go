//go:build !linux

package volume

import (
	"fmt"
	"io/fs"
)

// stampOf identifies a state of a file: size and modification time.
func stampOf(info fs.FileInfo) string {
	return fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano())
}

// writtenOf identifies the content of a file.
func writtenOf(info fs.FileInfo) string { return stampOf(info) }

// sameState reports whether a file was in the same state twice: whether the stamps are
// equal.
func sameState(a, b fs.FileInfo) bool { return stampOf(a) == stampOf(b) }
