// Package filelock locks a file or a directory against other processes.
//
// The lock belongs to the open file, as with flock(2). It ends when the file is released or the
// process dies, so no lock is ever left behind. The lock is advisory: it only stops other callers
// of [TryLock].
package filelock

import "errors"

// ErrLocked means that the file is locked through another open file.
var ErrLocked = errors.New("it is locked by another process")
