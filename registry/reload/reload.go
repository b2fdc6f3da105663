// Package reload reads a value from files, and reads it again when they change.
//
// Start with [New], and get the value with [Value.Get]. A change takes effect within two
// seconds. While the files cannot be used, for example in the middle of a change, the last
// valid value stays in effect. Nothing runs in the background: Get checks the files. It waits
// at most one second for a disk that hangs.
//
// A value may have several files, such as a certificate and its key.
package reload

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Options configures which files to read, and how.
type Options[T any] struct {
	// Files are the files to watch. If one is a link, its target is watched.
	Files []string
	Read  func() (T, error)
	// Changed is called after a change was read. Failed is called when a change cannot be read, once
	// per change. Both may be nil.
	Changed func()
	Failed  func(error)
	Now     func() time.Time
}

// Value holds the value that was read last.
//
// A file that is written in place has intermediate states that look complete, such as a list with
// half of its lines. So a change takes effect only after nothing was written for the time settle.
// Get checks the files at most once per checkEvery. If the last check is older than overdue, Get also
// waits for another caller's check. In total, these delays take less than two seconds.
type Value[T any] struct {
	options Options[T]
	current atomic.Pointer[T]
	start   time.Time
	checked atomic.Int64 // time of the last check, in nanoseconds after start

	mu    sync.Mutex
	check *check

	files files // only one check at a time uses this
}

const (
	checkEvery = 200 * time.Millisecond
	overdue    = 500 * time.Millisecond
	settle     = time.Second
	patience   = time.Second // how long Get waits for a disk that hangs
)

// New reads the files for the first time. It returns the error of Read, or an error if a file
// cannot be found.
func New[T any](o Options[T]) (*Value[T], error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	v := &Value[T]{options: o, start: o.Now()}
	state, stateErr := stateOf(o.Files)
	value, err := o.Read() // the error of Read is more specific than stateErr, so it takes precedence
	if err == nil {
		err = stateErr
	}
	if err != nil {
		return nil, err
	}
	v.files.used = state
	v.current.Store(&value)
	return v, nil
}

// Get returns the last valid value. If another caller has started a check, Get waits for it only
// if the last check is overdue.
func (v *Value[T]) Get() T {
	if age := v.age(); age >= checkEvery {
		c, started := v.startCheck()
		if started || age >= overdue {
			c.wait()
		}
	}
	return *v.current.Load()
}

// check is one check of the files that is running.
type check struct {
	began time.Time
	done  chan struct{}
}

// wait waits until the check ends, but at most until patience has passed since its start.
func (c *check) wait() {
	select {
	case <-c.done:
	case <-time.After(time.Until(c.began.Add(patience))):
	}
}

// startCheck returns the running check. If there is none, it starts one, and started is true.
func (v *Value[T]) startCheck() (c *check, started bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.check != nil {
		return v.check, false
	}
	c = &check{time.Now(), make(chan struct{})}
	v.check = c
	go func() {
		v.checkOnce()
		v.mu.Lock()
		defer v.mu.Unlock()
		v.check = nil
		close(c.done)
	}()
	return c, true
}

func (v *Value[T]) age() time.Duration {
	return v.options.Now().Sub(v.start) - time.Duration(v.checked.Load())
}

// checkOnce checks the files. It does nothing if another check has just ended.
func (v *Value[T]) checkOnce() {
	if v.age() < checkEvery {
		return
	}
	began := v.options.Now().Sub(v.start)
	v.checkFiles()
	v.checked.Store(int64(began))
}

// checkFiles reads the files if they have changed, and then stayed the same for the time settle.
func (v *Value[T]) checkFiles() {
	state, stateErr := stateOf(v.options.Files)
	if !v.files.settled(state, v.options.Now()) {
		return
	}
	value, err := v.options.Read()
	if after, _ := stateOf(v.options.Files); !sameStates(state, after) {
		return // a file changed while it was read, so leave it to the next check
	}
	if err == nil {
		err = stateErr
	}
	if err != nil {
		if v.files.fail(state) && v.options.Failed != nil {
			v.options.Failed(err)
		}
		return
	}
	v.current.Store(&value)
	v.files.use(state)
	if v.options.Changed != nil {
		v.options.Changed()
	}
}

// files contains what is known about the files. A state contains one entry per file. It is nil if a
// file cannot be found.
type files struct {
	used []fs.FileInfo // the state in which the current value was read

	// changed means that seen differs from used.
	changed bool
	// seen is the state that was seen last.
	seen []fs.FileInfo
	// since is when the files were first found in the state seen.
	since time.Time
	// torn means that a file was seen in the middle of a write.
	torn bool

	// failed means that the files could not be used.
	failed bool
	// failedIn is the state in which the files could not be used.
	failedIn []fs.FileInfo
}

// settled reports whether the files have changed, and then stayed the same for the time settle. The
// modification times of the files can show that. In case the file system's clock is wrong, a state
// also counts as settled if this process has seen it for the time settle.
func (f *files) settled(state []fs.FileInfo, now time.Time) bool {
	if sameStates(state, f.used) {
		f.changed, f.failed = false, false
		return false
	}
	if !f.changed || !sameStates(state, f.seen) {
		f.torn = isTorn(f.used, state) || isTorn(f.seen, state)
		f.changed, f.seen, f.since = true, state, now
	}
	if now.Sub(f.since) >= settle {
		return true
	}
	return !f.torn && len(state) > 0 &&
		!slices.ContainsFunc(state, func(info fs.FileInfo) bool { return now.Sub(info.ModTime()) < settle })
}

func (f *files) use(state []fs.FileInfo) {
	f.used, f.changed, f.failed = state, false, false
}

// fail records a state that cannot be used. It reports whether that state is new: the files
// were usable since the last failure, or failed in another state.
func (f *files) fail(state []fs.FileInfo) bool {
	isNew := !f.failed || !sameStates(state, f.failedIn)
	f.failed, f.failedIn = true, state
	return isNew
}

// stateOf returns the current state of files. The error names each file that cannot be found.
func stateOf(names []string) (state []fs.FileInfo, err error) {
	for _, name := range names {
		info, statErr := os.Stat(name)
		if statErr != nil {
			err = errors.Join(err, statErr)
			continue
		}
		state = append(state, info)
	}
	if err != nil {
		return nil, err
	}
	return state, nil
}

// isTorn reports whether a file was seen in the middle of a write. In that case, its size has
// changed, but its modification time has not. Some file systems set the size first, as ext4 does
// when it truncates a file. For a moment, such a file looks as if it had long been empty.
func isTorn(before, state []fs.FileInfo) bool {
	if len(before) != len(state) {
		return false
	}
	for i, was := range before {
		if os.SameFile(was, state[i]) && was.Size() != state[i].Size() && was.ModTime().Equal(state[i].ModTime()) {
			return true
		}
	}
	return false
}

// sameStates reports whether no file was written or replaced between two states. If files have
// the same size and time, device and inode distinguish them.
func sameStates(a, b []fs.FileInfo) bool {
	return slices.EqualFunc(a, b, func(a, b fs.FileInfo) bool {
		return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
	})
}
