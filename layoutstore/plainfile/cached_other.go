//go:build !linux

package plainfile

import (
	"io/fs"
	"os"
)

// Only Linux opens what it has in memory, and nothing else.

// IsLocal says that no file may be opened by [OpenCached].
func IsLocal(*os.File) bool { return false }

// OpenCached opens nothing: ErrWouldWait.
func OpenCached(*os.File, string) (*os.File, fs.FileInfo, error) { return nil, nil, ErrWouldWait }

// OpenCachedNoFollow opens nothing: ErrWouldWait.
func OpenCachedNoFollow(string) (*os.File, fs.FileInfo, error) { return nil, nil, ErrWouldWait }
