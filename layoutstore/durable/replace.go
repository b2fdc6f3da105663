//go:build !windows

package durable

import (
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

type pendingFile = renameio.PendingFile

// newPending creates the new file in the directory of the old one, because a rename works only
// within a file system. The name begins with a dot, so readers of the directory skip the file.
func newPending(name string, perm fs.FileMode, keepMode bool) (*pendingFile, error) {
	options := []renameio.Option{renameio.WithTempDir(filepath.Dir(name)), renameio.WithPermissions(perm)}
	if keepMode {
		options = append(options, renameio.WithExistingPermissions())
	}
	return renameio.NewPendingFile(name, options...)
}

func replaceIn(dir *os.Root, name string, data []byte, perm fs.FileMode) error {
	return renameio.WriteFile(name, data, perm, renameio.WithRoot(dir))
}
