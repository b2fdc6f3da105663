//go:build !unix

package fileid

import "io/fs"

// identify returns ok as false, because this system cannot identify files. So [Set.Has] is always
// false, and the regular files of an imported bundle stay in the drop directory.
func identify(fs.FileInfo) (device, inode uint64, ok bool) { return 0, 0, false }
