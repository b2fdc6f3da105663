package watch_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/watch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for an event that must happen.
const patience = 30 * time.Second

func run(t *testing.T, tick time.Duration) (*watch.Watcher, <-chan struct{}) {
	t.Helper()
	signals := make(chan struct{}, 1000)
	w := watch.New(watch.Options{Tick: tick, Changed: func(context.Context) { signals <- struct{}{} }})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w, signals
}

func wait(t *testing.T, signals <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-signals:
	case <-time.After(patience):
		t.Fatalf("got no signal for %s, want one", what)
	}
}

func TestSignalForEachKindOfChange(t *testing.T) {
	dir := t.TempDir()
	w, signals := run(t, 0)
	w.Watch([]string{dir}, nil)
	file, other := filepath.Join(dir, "index.json"), filepath.Join(dir, "other")
	for _, c := range []struct {
		name   string
		change func() error
	}{
		{"a new file", func() error { return os.WriteFile(file, []byte("1"), 0o644) }},
		{"a write in place", func() error { return os.WriteFile(file, []byte("2"), 0o644) }},
		{"a new directory", func() error { return os.Mkdir(other, 0o755) }},
		{"a rename", func() error { return os.Rename(file, filepath.Join(dir, "renamed")) }},
		{"a removal", func() error { return os.Remove(other) }},
		{"a link", func() error { return os.Symlink("x", filepath.Join(dir, "link")) }},
	} {
		layouttest.Try(t, c.change())
		wait(t, signals, c.name)
	}
	if err := w.Failure(); err != nil {
		t.Error(err)
	}
}

func TestOneSignalForManyChanges(t *testing.T) {
	dir := t.TempDir()
	w, signals := run(t, 0)
	w.Watch([]string{dir}, nil)
	const changes = 500
	began := time.Now()
	for i := range changes {
		layouttest.Try(t, os.WriteFile(filepath.Join(dir, "file"), make([]byte, i), 0o644))
	}
	wait(t, signals, "many changes")
	// However slow the machine is, two signals are at least the time quiet apart.
	const pause = 100 * time.Millisecond
	if n, most := len(signals), int(time.Since(began)/pause)+1; n > most {
		t.Errorf("got %d more signals for %d changes, want at most %d", n, changes, most)
	}
}

func TestWatchSinglePath(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "current")
	layouttest.Try(t, os.Symlink("one", link))
	w, signals := run(t, 0)
	w.Watch(nil, []string{link})
	layouttest.Try(t, os.WriteFile(filepath.Join(dir, "neighbour"), nil, 0o644))
	layouttest.Try(t, os.Symlink("two", link+".new"))
	select {
	case <-signals:
		t.Error("a change of a file that is not watched gave a signal, want none")
	case <-time.After(500 * time.Millisecond): // this is longer than the time quiet
	}
	layouttest.Try(t, os.Rename(link+".new", link))
	wait(t, signals, "a replaced link")
}

func TestWatchedDirectoryReplaced(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "dir")
	layouttest.Try(t, os.Mkdir(dir, 0o755))
	w, signals := run(t, 0)
	w.Watch([]string{parent, dir}, nil)
	layouttest.Try(t, os.Rename(dir, dir+".old"))
	wait(t, signals, "the directory's rename")
	layouttest.Try(t, os.Mkdir(dir, 0o755))
	wait(t, signals, "the new directory")
	w.Watch([]string{parent, dir}, nil)
	layouttest.Try(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o644))
	wait(t, signals, "a file in the new directory")
}

// The system ends the watch of a directory that is renamed, and of one that is removed. If the directory is
// soon back at its path, or a new one has the same inode, the watch must begin again.
func TestWatchedDirectoryComesBack(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "dir")
	for name, watched := range map[string][]string{"with its parent": {parent, dir}, "alone": {dir}} {
		t.Run(name, func(t *testing.T) {
			layouttest.Try(t, os.MkdirAll(dir, 0o755))
			w, signals := run(t, 0)
			w.Watch(watched, nil)
			layouttest.Try(t, os.Rename(dir, dir+".old"))
			layouttest.Try(t, os.Rename(dir+".old", dir))
			wait(t, signals, "the directory's renames")
			if !w.Watch(watched, nil) {
				t.Error("Watch of the directory that is back = false, want true, because earlier changes gave no signal")
			}
			for len(signals) > 0 {
				<-signals
			}
			layouttest.Try(t, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
			wait(t, signals, "a file in the directory that is back")
		})
	}
}

// A directory that is watched at two paths has only one watch. It is still watched at one path when the
// other path, a link, leads to another directory.
func TestWatchDirectoryAfterItsLinkChanged(t *testing.T) {
	parent := t.TempDir()
	one, two, link := filepath.Join(parent, "one"), filepath.Join(parent, "two"), filepath.Join(parent, "current")
	layouttest.Try(t, os.Mkdir(one, 0o755))
	layouttest.Try(t, os.Mkdir(two, 0o755))
	layouttest.Try(t, os.Symlink("one", link))
	w, signals := run(t, 0)
	w.Watch([]string{parent, link, one, two}, nil)
	layouttest.Try(t, os.Symlink("two", link+".new"))
	layouttest.Try(t, os.Rename(link+".new", link))
	wait(t, signals, "the changed link")
	for range 3 { // as long as Watch returns true, its caller scans and calls it again
		if !w.Watch([]string{parent, link, one, two}, nil) {
			break
		}
	}
	if w.Watch([]string{parent, link, one, two}, nil) {
		t.Error("Watch of the same directories = true again and again, want false")
	}
	for len(signals) > 0 {
		<-signals
	}
	for _, dir := range []string{one, two} {
		layouttest.Try(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o644))
		wait(t, signals, "a file in the directory "+dir)
	}
}

func TestUnwatchedDirectoryGivesNoSignal(t *testing.T) {
	dir := t.TempDir()
	w, signals := run(t, 0)
	w.Watch([]string{dir}, nil)
	w.Watch(nil, nil)
	layouttest.Try(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o644))
	select {
	case <-signals:
		t.Error("a change in a directory that is no longer watched gave a signal, want none")
	case <-time.After(500 * time.Millisecond):
	}
}

func TestSignalAtEachTick(t *testing.T) {
	_, signals := run(t, time.Millisecond)
	for range 3 {
		wait(t, signals, "tick")
	}
}

func TestWatchMissingDirectory(t *testing.T) {
	w, _ := run(t, 0)
	w.Watch([]string{filepath.Join(t.TempDir(), "gone")}, nil)
	if err := w.Failure(); err != nil {
		t.Error(err)
	}
	w.Watch([]string{"/proc/self/environ/x"}, nil)
	if err := w.Failure(); err == nil {
		t.Error("Failure() = nil with a directory that cannot be watched, want an error")
	}
}

// If the system refuses an event queue, or file descriptors run out, changes are noticed at the
// tick. Once there is a queue, events report changes.
func TestWatchWithoutEventQueue(t *testing.T) {
	dir := t.TempDir()
	restore := layouttest.LimitFiles(t, 0)
	defer restore()
	w, signals := run(t, time.Millisecond)
	if w.Watch([]string{dir}, nil) || w.Failure() == nil {
		t.Errorf("Watch without a free file descriptor: it succeeded, or Failure() = %v; want false and an error", w.Failure())
	}
	wait(t, signals, "tick")
	restore()
	if !w.Watch([]string{dir}, nil) || w.Failure() != nil {
		t.Errorf("Watch with free file descriptors: it failed, or Failure() = %v; want true and nil", w.Failure())
	}
}

func TestEventQueueOpenedLate(t *testing.T) {
	dir := t.TempDir()
	restore := layouttest.LimitFiles(t, 0)
	w, signals := run(t, 0)
	failure := w.Failure()
	restore()
	if failure == nil {
		t.Fatal("New without a free file descriptor: Failure() = nil, want an error")
	}
	w.Watch([]string{dir}, nil)
	for len(signals) > 0 {
		<-signals
	}
	time.Sleep(200 * time.Millisecond) // this gives Run time to use the new queue
	for len(signals) > 0 {
		<-signals
	}
	layouttest.Try(t, os.WriteFile(filepath.Join(dir, "index.json"), nil, 0o644))
	wait(t, signals, "a change")
}

// If two signals are requested, only the earlier one is given, whichever was requested first. The
// later one is due in an hour, so it never comes in a test.
func TestAgainKeepsEarlierSignal(t *testing.T) {
	for name, asked := range map[string][]time.Duration{
		"sooner first": {0, time.Hour},
		"sooner last":  {time.Hour, 0},
		"before Run":   {time.Hour, 0, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			signals := make(chan struct{}, 1000)
			w := watch.New(watch.Options{Changed: func(context.Context) { signals <- struct{}{} }})
			for _, d := range asked {
				w.Again(d)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- w.Run(ctx) }()
			wait(t, signals, name)
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("while the watcher runs", func(t *testing.T) {
		w, signals := run(t, 0)
		w.Again(50 * time.Millisecond)
		w.Again(time.Hour)
		wait(t, signals, "the earlier signal")
	})
}
