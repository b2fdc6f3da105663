//go:build !linux

package importer

import (
	"errors"
	"fmt"
	"os"
)

// A store is written on Linux only: it needs syncfs(2) and flock(2).
var errSystem = fmt.Errorf("importing on this system: %w", errors.ErrUnsupported)

func tryLock(*os.File) error { return errSystem }

func syncFileSystem(*os.File) error { return errSystem }

func room(*os.File) (bytes, files int64, err error) { return 0, 0, errSystem }

func noLinks(error) bool { return true }
