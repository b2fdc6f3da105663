// Package console prints the output of commands: results to standard output, log and progress to
// standard error. On a terminal, progress is shown as bars, and elsewhere as log lines.
package console

import (
	"io"
	"os"
	"sync"

	"github.com/vbauerster/cupwriter"
	"github.com/vbauerster/mpb/v8"
	"golang.org/x/term"
)

// Console writes to standard error, which the log and the progress bars share. A log line appears
// above the bars.
type Console struct {
	mu   sync.Mutex
	w    io.Writer
	bars *mpb.Progress // nil while no bars are shown
}

// New returns a console that writes to stderr.
func New(stderr io.Writer) *Console { return &Console{w: unwrap(stderr)} }

// Write implements [io.Writer].
func (c *Console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bars != nil {
		if n, err := NewPrintable(c.bars).Write(p); err == nil { // Write fails if the bars have just ended.
			return n, nil
		}
	}
	return NewPrintable(c.w).Write(p)
}

// IsTerminal reports whether a writer is a terminal.
func IsTerminal(w io.Writer) bool {
	f, ok := unwrap(w).(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// show starts a display of bars. It returns nil if standard error is not a terminal.
func (c *Console) show() *mpb.Progress {
	f, ok := c.w.(*os.File)
	if !ok || !IsTerminal(f) {
		return nil
	}
	w := cupwriter.New(fromLineStart{f}, false)
	w.SetTermFd(int(f.Fd()))
	bars := mpb.New(mpb.WithConsoleWriter(w))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bars = bars
	return bars
}

// fromLineStart makes each write begin at the start of the line, and so overwrite the ^C that the terminal
// prints when the user presses Ctrl-C. A bar that follows ^C would be too wide for the line.
type fromLineStart struct{ w io.Writer }

func (f fromLineStart) Write(p []byte) (int, error) {
	n, err := f.w.Write(append([]byte{'\r'}, p...))
	return max(0, n-1), err
}

// hide ends the display that show started. It calls end, which must abort all bars that are still running.
// While hide runs, Write waits: a line that is written above ended bars would be lost.
func (c *Console) hide(bars *mpb.Progress, end func()) {
	if bars == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	end()
	bars.Wait()
	c.bars = nil
}
