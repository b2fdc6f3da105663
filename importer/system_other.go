//go:build !linux

package importer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Only Linux can write a store, because this needs syncfs(2) and flock(2).
var errSystem = fmt.Errorf("importing requires Linux: %w", errors.ErrUnsupported)

func clone(_, _ *os.File) error { return errSystem }

func ownership(fs.FileInfo) (links uint64, foreign bool) { return 0, true }

func owned(fs.FileInfo) bool { return true }

func noLinks(error) bool { return true }
