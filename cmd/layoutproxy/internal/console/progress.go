package console

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/importer/push"
)

// Progress shows the progress of a long command: on a terminal as a bar, elsewhere as a log line
// every ten seconds.
type Progress struct {
	log    *zap.Logger
	what   string
	screen *Console
	bars   *mpb.Progress // nil if there is no terminal
	bar    *mpb.Bar
	every  time.Duration

	began time.Time
	total int64
	done  atomic.Int64
	ended chan struct{}
	stop  sync.Once
	lines sync.WaitGroup

	mu    sync.Mutex
	blobs map[*mpb.Bar]bool // the bars of large blobs in transfer; nil after Stop
}

// lineEvery is the interval between two log lines about the progress.
const lineEvery = 10 * time.Second

// NewProgress returns a Progress. It shows nothing before Begin is called.
func NewProgress(log *zap.Logger, screen *Console, what string) *Progress {
	return &Progress{log: log, what: what, every: lineEvery, ended: make(chan struct{}), screen: screen, bars: screen.show(), blobs: map[*mpb.Bar]bool{}}
}

// Begin sets the number of bytes to do, and shows the bar. It is called once. The number of files
// is not shown.
func (p *Progress) Begin(_ int, bytes int64) {
	p.total, p.began = bytes, time.Now()
	p.log.Debug(p.what, zap.String("all", Bytes(bytes)))
	if p.bars == nil {
		p.lines.Go(p.logLines)
		return
	}
	// AddBar gets 0, and SetTotal the real total: a bar that has reached a total set by AddBar ends
	// at once, and removes the lines above it from the terminal.
	p.bar = p.bars.AddBar(0,
		mpb.PrependDecorators(decor.Name(p.what, decor.WCSyncSpaceR), decor.Counters(decor.SizeB1000(0), "% .1f of % .1f", decor.WCSyncSpaceR)),
		mpb.AppendDecorators(decor.AverageSpeed(decor.SizeB1000(0), "% .1f"), decor.Name(", "), decor.AverageETA(decor.ET_STYLE_GO), decor.Name(" left")))
	p.bar.SetTotal(bytes, false)
}

// Read adds n to the number of bytes that are done. n may be negative.
func (p *Progress) Read(n int) {
	done := p.done.Add(int64(n))
	if p.bar != nil {
		p.bar.SetCurrent(done)
	}
}

// Stop ends the display. It logs no total, because the result of the command contains it.
func (p *Progress) Stop() { p.stop.Do(p.end) }

func (p *Progress) end() {
	close(p.ended)
	p.lines.Wait()
	p.screen.hide(p.bars, func() {
		if p.bar != nil {
			p.bar.Abort(true)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		for bar := range p.blobs {
			bar.Abort(true)
		}
		p.blobs = nil
	})
}

func (p *Progress) logLines() {
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.logLine()
		case <-p.ended:
			return
		}
	}
}

func (p *Progress) logLine() {
	done, spent := p.done.Load(), time.Since(p.began)
	rate := float64(done) / spent.Seconds()
	fields := []zap.Field{zap.String("done", Bytes(done)), zap.String("of", Bytes(p.total)),
		zap.String("rate", Bytes(int64(rate))+"/s")}
	if rate > 0 {
		left := time.Duration(float64(p.total-done) / rate * float64(time.Second))
		fields = append(fields, zap.Duration("left", left.Round(time.Second)))
	}
	p.log.Info(p.what, fields...)
}

// Transfers shows the progress of a push. On a terminal, each large blob in transfer has its own
// line below the total. Transfers implements push.Progress.
type Transfers struct{ *Progress }

// Expect sets the number of bytes to push.
func (t Transfers) Expect(bytes int64) { t.Progress.Begin(0, bytes) }

// Begin shows that a blob is being sent to a repository.
func (t Transfers) Begin(repository string, size int64) push.Transfer {
	return &sent{all: t.Progress, size: size, line: t.newLine(repository, size)}
}

type sent struct {
	all  *Progress
	line *line
	size int64
	pos  atomic.Int64
}

// At sets how many bytes of the blob have been sent. A retry that starts over lowers the number.
func (t *sent) At(pos int64) {
	t.all.Read(int(pos - t.pos.Swap(pos)))
	t.line.at(pos)
}

// End ends the transfer of the blob. If done is false, the bytes that were sent no longer count.
func (t *sent) End(done bool) {
	pos := int64(0)
	if done {
		pos = t.size
	}
	t.At(pos)
	t.line.end()
}

// lineFrom is the size of the smallest blob that gets its own line, in bytes.
const lineFrom = 1 << 20

// line is the bar of one blob in transfer, labelled with the repository. A nil line is not shown.
type line struct {
	of  *Progress
	bar *mpb.Bar
}

// newLine shows a bar for a blob. It returns nil for a small blob, without a terminal, and after Stop.
func (p *Progress) newLine(repository string, size int64) *line {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bars == nil || p.blobs == nil || size < lineFrom {
		return nil
	}
	bar := p.bars.AddBar(size, mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(repository, decor.WCSyncSpaceR), decor.Counters(decor.SizeB1000(0), "% .1f of % .1f", decor.WCSyncSpaceR)))
	p.blobs[bar] = true
	return &line{p, bar}
}

func (l *line) at(pos int64) {
	if l != nil {
		l.bar.SetCurrent(pos)
	}
}

func (l *line) end() {
	if l != nil {
		l.bar.Abort(true)
		l.of.mu.Lock()
		defer l.of.mu.Unlock()
		delete(l.of.blobs, l.bar)
	}
}
