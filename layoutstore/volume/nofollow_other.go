//go:build !unix

package volume

import (
	"errors"
	"os"
)

// openNoFollow opens a file that is no symbolic link, where the system can be asked to.
func openNoFollow(string) (*os.File, error) { return nil, errors.ErrUnsupported }
