//go:build !unix

package fileid

import "io/fs"

// identify returns ok as false, because this system cannot identify files. So no file is ever moved
// or removed.
func identify(fs.FileInfo) (device, inode uint64, ok bool) { return 0, 0, false }
