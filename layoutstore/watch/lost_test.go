package watch

import (
	"context"
	"os"
	"path/filepath"
	"sync"
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

// If a watched directory is renamed and removed before fsnotify handles the rename, fsnotify sends an error, and
// holds a lock until the error is received. Watch, which a scan calls, and the end of Run need this lock. So
// errors must be received during a scan.
func TestErrorsDoNotWaitForScan(t *testing.T) {
	scans, end := make(chan struct{}, 10), make(chan struct{})
	endScan := sync.OnceFunc(func() { close(end) })
	w := New(Options{Changed: func(context.Context) {
		scans <- struct{}{}
		<-end
	}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	defer func() {
		cancel()
		endScan()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	wait := func(what string) {
		t.Helper()
		select {
		case <-scans:
		case <-time.After(30 * time.Second):
			t.Fatalf("got no scan %s, want one", what)
		}
	}
	w.Again(0)
	wait("that was requested")
	for range 2 {
		select {
		case w.fs.Errors <- fsnotify.ErrEventOverflow:
		case <-time.After(30 * time.Second):
			t.Fatal("an error of the event queue was not received during a scan, want it to be")
		}
	}
	endScan()
	wait("after the errors")
}
