//go:build !linux

package volume

import (
	"fmt"
	"io/fs"
)

// stampOf identifies the state of a file by size and modification time.
func stampOf(info fs.FileInfo) string {
	return fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano())
}

// writtenOf identifies the content of a file.
func writtenOf(info fs.FileInfo) string { return stampOf(info) }

// sameState reports whether the stamps of two states are equal.
func sameState(a, b fs.FileInfo) bool { return stampOf(a) == stampOf(b) }
