package main

import (
	"bufio"
	"os"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// status --watch prints the status, and exits with 0 after Ctrl-C.
func TestStatusWatchEndsWithCtrlC(t *testing.T) {
	dir := t.TempDir()
	layouttest.Publish(t, dir, "app", "v1")
	p := start(t, dir)
	watch := program(t, "status", p.addresses["admin"], "--watch")
	out, err := watch.StdoutPipe()
	layouttest.Try(t, err)
	layouttest.Try(t, watch.Start())
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("status --watch prints nothing")
	}
	layouttest.Try(t, watch.Process.Signal(os.Interrupt))
	for lines.Scan() {
	}
	if err := watch.Wait(); err != nil {
		t.Errorf("after Ctrl-C, status --watch ends with %v", err)
	}
}
