package console

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Stop ends the display while blobs are still being fetched, and later fetches are not shown.
// Otherwise, a second Ctrl-C would leave bars on the terminal.
func TestStopEndsBarsWhileFetching(t *testing.T) {
	t.Parallel()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer screen.Close()
	fd := int(screen.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 100})
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	wrote := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(screen) // ReadAll returns an error when the other end is closed.
		wrote <- string(text)
	}()
	w := NewPhases(zap.NewNop(), New(tty))
	w.Phase("fetching", 100<<20)
	fetched := w.Fetch("modules/console", 50<<20)
	fetched.Add(1 << 20)
	stopped := make(chan struct{})
	go func() {
		w.Stop()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-time.After(time.Minute):
		t.Fatal("Stop during a fetch did not return within a minute, want it not to wait for the fetch")
	}
	late := w.Fetch("modules/late", 50<<20)
	late.Add(1 << 20)
	w.Phase("writing", 1<<20)
	fetched.End()
	late.End()
	w.Stop()
	tty.Close()
	if text := <-wrote; strings.Contains(text, "late") || strings.Contains(text, "writing") {
		t.Errorf("the terminal shows %q, want nothing that began after Stop (late, writing)", text)
	}
}
