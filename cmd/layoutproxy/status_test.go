package main

import (
	"bufio"
	"os"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// A watch prints the status, and ends with 0 on Ctrl-C.
func TestStatusWatch(t *testing.T) {
	dir := t.TempDir()
	layouttest.Publish(t, dir, "app", "v1")
	p := start(t, dir)
	watch := program(t, "status", p.addresses["admin"], "--watch")
	out, err := watch.StdoutPipe()
	layouttest.Try(t, err)
	layouttest.Try(t, watch.Start())
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("the watch prints nothing")
	}
	layouttest.Try(t, watch.Process.Signal(os.Interrupt))
	for lines.Scan() {
	}
	if err := watch.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
}
