// Package filelock locks a file or a directory against other processes.
//
// The lock belongs to the open file, as flock(2) has it: it ends when the file is closed
// or the process dies, and no stale lock is left behind. It is advisory: it holds only
// those who ask for it.
package filelock

import "errors"

// ErrLocked says that another open file has the lock.
var ErrLocked = errors.New("it is locked by another process")
