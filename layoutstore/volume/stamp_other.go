//go:build !linux

package volume

import (
	"fmt"
	"io/fs"
)

// stampOf returns a text with the size and modification time of a file, which identifies its state.
func stampOf(info fs.FileInfo) string {
	return fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano())
}

// writtenOf returns a text that identifies the content of a file.
func writtenOf(info fs.FileInfo) string { return stampOf(info) }

// sameState reports whether two states of a file have equal stamps.
func sameState(a, b fs.FileInfo) bool { return stampOf(a) == stampOf(b) }
