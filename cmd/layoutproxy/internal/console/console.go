// Package console prints the results of a command to standard output, and its log and progress to
// standard error: progress as bars on a terminal, and as log lines elsewhere.
package console

import (
	"io"
	"os"
	"sync"

	"github.com/vbauerster/cupwriter"
	"github.com/vbauerster/mpb/v8"
	"golang.org/x/term"
)

// Console is standard error, which the log and the bars share: a log line that is
// written while bars are shown appears above them.
type Console struct {
	mu   sync.Mutex
	w    io.Writer
	bars *mpb.Progress // nil while none are shown
}

// New makes a console of standard error.
func New(stderr io.Writer) *Console { return &Console{w: unwrap(stderr)} }

// Write implements [io.Writer].
func (c *Console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bars != nil {
		if n, err := NewPrintable(c.bars).Write(p); err == nil { // fails after they have ended
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

// show starts to show bars, if there is a terminal.
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

// fromLineStart makes each write begin at the start of the line: a terminal echoes
// Ctrl-C at the cursor, and a bar after it would be too wide for its line.
type fromLineStart struct{ w io.Writer }

// Write implements [io.Writer].
func (f fromLineStart) Write(p []byte) (int, error) {
	n, err := f.w.Write(append([]byte{'\r'}, p...))
	return max(0, n-1), err
}

// hide ends the bars that show has started, the last of them by calling end. Other writers wait
// meanwhile, because a line that is written above ended bars would be lost.
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
