package watch

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// If events are lost, the end of a watch may be among them. Then all directories are watched again.
func TestWatchAgainAfterLostEvents(t *testing.T) {
	dir := t.TempDir()
	signals := make(chan struct{}, 1000)
	w := New(Options{Changed: func(context.Context) { signals <- struct{}{} }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	wait := func(what string) {
		t.Helper()
		select {
		case <-signals:
		case <-time.After(30 * time.Second):
			t.Fatalf("got no signal for %s, want one", what)
		}
	}
	w.Watch([]string{dir}, nil)
	layouttest.Try(t, w.fs.Remove(dir)) // as if the directory were replaced by one with the same inode, and the event were lost
	w.fs.Errors <- fsnotify.ErrEventOverflow
	wait("lost events")
	if !w.Watch([]string{dir}, nil) {
		t.Error("Watch after lost events = false, want true, because earlier changes gave no signal")
	}
	if w.Watch([]string{dir}, nil) {
		t.Error("second Watch after lost events = true, want false")
	}
	layouttest.Try(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o644))
	wait("a file in the directory")
}
