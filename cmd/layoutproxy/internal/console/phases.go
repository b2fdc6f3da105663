package console

import (
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/importer/pull"
)

// Phases shows the progress of a pull, one phase after the other. It implements pull.Watch.
type Phases struct {
	log    *zap.Logger
	screen *Console

	mu      sync.Mutex
	current *Progress
	ended   bool
	loose   int64     // number of bytes read in phases without a known total
	logged  time.Time // when loose was last logged
}

// NewPhases returns a [Phases]. It shows nothing until the first phase begins.
func NewPhases(log *zap.Logger, screen *Console) *Phases {
	return &Phases{log: log, screen: screen, logged: time.Now()}
}

// Phase implements pull.Watch.
func (w *Phases) Phase(name string, total int64) {
	w.mu.Lock()
	last := w.current
	w.mu.Unlock()
	if last != nil {
		last.Stop()
	}
	w.log.Info(name)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current = nil; total > 0 && !w.ended {
		w.current = NewProgress(w.log, w.screen, name)
		w.current.Begin(0, total)
	}
}

// Add implements pull.Watch.
func (w *Phases) Add(n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current != nil {
		w.current.Read(int(n))
		return
	}
	w.loose += n
	if time.Since(w.logged) > lineEvery {
		w.logged = time.Now()
		w.log.Info("reading images", zap.String("done", Bytes(w.loose)))
	}
}

// Fetch implements pull.Watch.
func (w *Phases) Fetch(repository string, size int64) pull.Transfer {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := &fetched{all: w}
	if w.current != nil {
		t.line = w.current.newLine(repository, size)
	}
	return t
}

type fetched struct {
	all  *Phases
	line *line
	pos  atomic.Int64
}

func (f *fetched) Add(n int64) {
	f.all.Add(n)
	f.line.at(f.pos.Add(n))
}

func (f *fetched) End() { f.line.end() }

// Packed implements pull.Watch.
func (w *Phases) Packed(name string, n int64) {
	w.log.Info("written", zap.String("archive", name), zap.String("size", Bytes(n)))
}

// Stop ends the display, even if blobs are still being fetched. It returns when nothing is shown
// any more. Further calls have no effect.
func (w *Phases) Stop() {
	w.mu.Lock()
	p := w.current
	w.ended = true
	w.mu.Unlock()
	if p != nil {
		p.Stop()
	}
}
