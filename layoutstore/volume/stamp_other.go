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

// writtenOf identifies what was written into a file.
func writtenOf(info fs.FileInfo) string { return stampOf(info) }

// sameState says whether two looks at a file found it in one state: whether their stamps
// are equal.
func sameState(a, b fs.FileInfo) bool { return stampOf(a) == stampOf(b) }
