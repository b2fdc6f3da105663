// Package filelock locks a file or a directory against other processes.
//
// The lock belongs to the open file, like that of flock(2): it ends when the file is
// closed or the process dies, so no stale lock is left. It is advisory: it affects only
// processes that ask for it.
package filelock

import "errors"

// ErrLocked says that another open file has the lock.
var ErrLocked = errors.New("it is locked by another process")
