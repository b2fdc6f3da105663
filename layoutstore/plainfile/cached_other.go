//go:build !linux

package plainfile

import (
	"io/fs"
	"os"
)

// Only Linux can open a file just from memory.

// IsLocal returns false: no file may be opened by [OpenCached].
func IsLocal(*os.File) bool { return false }

// OpenCached returns ErrWouldWait.
func OpenCached(*os.File, string) (*os.File, fs.FileInfo, error) { return nil, nil, ErrWouldWait }

// OpenCachedNoFollow returns ErrWouldWait.
func OpenCachedNoFollow(string) (*os.File, fs.FileInfo, error) { return nil, nil, ErrWouldWait }
