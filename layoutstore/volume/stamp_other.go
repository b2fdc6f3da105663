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

func writtenOf(info fs.FileInfo) string { return stampOf(info) }

func sameState(a, b fs.FileInfo) bool { return stampOf(a) == stampOf(b) }
