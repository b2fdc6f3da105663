// Package filelock locks a file or a directory against other processes.
//
// The lock belongs to the open file, like that of flock(2): it ends when the file is closed or the
// process dies, so it is never left behind. It is advisory: it affects only processes that try to
// lock the file.
package filelock

import "errors"

// ErrLocked says that another open file has the lock.
var ErrLocked = errors.New("it is locked by another process")
