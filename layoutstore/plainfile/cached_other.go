//go:build !linux

package plainfile

import (
	"io/fs"
	"os"
)

// Only Linux can open a file without ever waiting for a disk.

// IsLocal returns false, because [OpenCached] cannot open files on this system.
func IsLocal(*os.File) bool { return false }

// OpenCached returns ErrWouldWait.
func OpenCached(*os.File, string) (*os.File, fs.FileInfo, error) { return nil, nil, ErrWouldWait }

// OpenCachedNoFollow returns ErrWouldWait.
func OpenCachedNoFollow(string) (*os.File, fs.FileInfo, error) { return nil, nil, ErrWouldWait }
