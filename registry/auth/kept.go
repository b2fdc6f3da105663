package auth

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// kept is what was read from some files, and is read again when they change. While
// they cannot be used, what was read last stays.
//
// A file that is written in place passes through states that look whole, as one
// with half of its users. So a change counts only when nothing was written for
// settle. Files are looked at when somebody asks, at most once in lookAgain, and before
// the answer if they were not for overdue: together that is less than the two seconds
// within which a change has to count.
type kept[T any] struct {
	log   *zap.Logger
	files []string
	read  func() (T, error)

	now      atomic.Pointer[T]
	start    time.Time
	looked   atomic.Int64 // nanoseconds after start
	patience time.Duration

	mu      sync.Mutex // guards looking
	looking *looking   // nil while nobody looks

	// Who looks has what follows for itself.
	used   []fs.FileInfo // the state that now was read in
	seen   []fs.FileInfo // the state at the last look
	since  time.Time     // when it was first seen
	torn   bool          // whether it was seen in the middle of a write
	failed []fs.FileInfo // the state that was last complained of
}

const (
	lookAgain = 200 * time.Millisecond
	overdue   = 500 * time.Millisecond
	settle    = time.Second
	patience  = time.Second // with a disk that hangs
)

// keep reads the files for the first time. Errors: those of reading.
func keep[T any](log *zap.Logger, files []string, read func() (T, error)) (*kept[T], error) {
	k := &kept[T]{log: log, files: files, read: read, start: time.Now(), patience: patience}
	var err error
	if k.used, err = k.state(); err != nil {
		return nil, err
	}
	now, err := read()
	if err != nil {
		return nil, err
	}
	k.now.Store(&now)
	return k, nil
}

// get is what the files said when they could be used last. Who asks does not wait for
// one who looks, unless nobody has for too long to go by what was seen then; and nobody
// waits longer than patience for a disk that hangs.
func (k *kept[T]) get() T {
	if age := k.age(); age >= lookAgain {
		look, mine := k.lookBehind()
		if mine || age >= overdue {
			look.wait(k.patience)
		}
	}
	return *k.now.Load()
}

// looking is a look at the files that is under way.
type looking struct {
	began time.Time
	done  chan struct{}
}

// wait waits for the end of the look, and no longer than patience after it began.
func (l *looking) wait(patience time.Duration) {
	timer := time.NewTimer(time.Until(l.began.Add(patience)))
	defer timer.Stop()
	select {
	case <-l.done:
	case <-timer.C:
	}
}

// lookBehind has one goroutine look at the files. It says whether that is a new one.
func (k *kept[T]) lookBehind() (l *looking, mine bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.looking != nil {
		return k.looking, false
	}
	l = &looking{time.Now(), make(chan struct{})}
	k.looking = l
	go func() {
		k.lookOnce()
		k.mu.Lock()
		defer k.mu.Unlock()
		k.looking = nil
		close(l.done)
	}()
	return l, true
}

// age is how long ago the files were looked at.
func (k *kept[T]) age() time.Duration { return time.Since(k.start) - time.Duration(k.looked.Load()) }

// lookOnce looks, unless somebody else just has.
func (k *kept[T]) lookOnce() {
	if k.age() < lookAgain {
		return
	}
	now := time.Since(k.start)
	k.look()
	k.looked.Store(int64(now))
}

// look reads the files if they are others than those that were read, and settled.
func (k *kept[T]) look() {
	state, err := k.state()
	if err == nil && same(state, k.used) {
		k.seen, k.failed = nil, nil
		return
	}
	if k.since.IsZero() || !same(state, k.seen) {
		k.torn = torn(k.used, state) || torn(k.seen, state)
		k.seen, k.since = state, time.Now()
	}
	if !k.settled() {
		return
	}
	var now T
	if err == nil {
		now, err = k.read()
		if after, stateErr := k.state(); stateErr != nil || !same(state, after) {
			return // written while it was read: the next look will tell
		}
	}
	if err != nil {
		if k.failed == nil || !same(state, k.failed) {
			k.log.Warn("credentials cannot be read: the last good ones count", zap.Strings("files", k.files), zap.Error(err))
		}
		k.failed = append([]fs.FileInfo{}, state...)
		return
	}
	k.now.Store(&now)
	k.used, k.seen, k.failed = state, nil, nil
	k.log.Info("credentials read again", zap.Strings("files", k.files))
}

// settled says whether nothing was written to what was seen for a while: by the
// files' own times, and by our clock where those are of another one or cannot be right.
func (k *kept[T]) settled() bool {
	now := time.Now()
	return now.Sub(k.since) >= settle || !k.torn &&
		!slices.ContainsFunc(k.seen, func(info fs.FileInfo) bool { return now.Sub(info.ModTime()) < settle })
}

// state is what the files are now.
func (k *kept[T]) state() ([]fs.FileInfo, error) {
	var state []fs.FileInfo
	for _, file := range k.files {
		info, err := os.Stat(file)
		if err != nil {
			return nil, fmt.Errorf("credentials: %w", err)
		}
		state = append(state, info)
	}
	return state, nil
}

// torn reports whether a file was seen in the middle of a write: it has another size than
// before, and still its old modification time. A file system may set the size first
// (ext4 does so for a file that is cut, as a write in place begins), and a file that is
// empty for a moment would look like one that was empty for long.
func torn(before, state []fs.FileInfo) bool {
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

// same says whether no file was written or replaced between two states.
func same(a, b []fs.FileInfo) bool {
	return slices.EqualFunc(a, b, func(a, b fs.FileInfo) bool {
		return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
	})
}
