package console

import (
	"sync/atomic"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/layoutproxy/layoutproxy/importer/push"
)

// Transfers shows the progress of a push: a total, and on a terminal a line for each
// large blob in transfer as well. It is a push.Progress.
type Transfers struct{ *Progress }

// Expect sets the total number of bytes.
func (t Transfers) Expect(bytes int64) { t.Progress.Begin(0, bytes) }

// Begin starts the transfer of a blob of a repository.
func (t Transfers) Begin(repository string, size int64) push.Transfer {
	return &sent{all: t.Progress, size: size, line: t.newLine(repository, size)}
}

// sent shows the transfer of one blob.
type sent struct {
	all  *Progress
	line *line
	size int64
	pos  atomic.Int64
}

// At sets how many bytes of the blob are transferred, which may be fewer than before.
func (t *sent) At(pos int64) {
	t.all.Read(int(pos - t.pos.Swap(pos)))
	t.line.at(pos)
}

// End ends the transfer: the blob is complete, or nothing of it counts.
func (t *sent) End(done bool) {
	pos := int64(0)
	if done {
		pos = t.size
	}
	t.At(pos)
	t.line.end()
}

// lineFrom is the size, in bytes, from which a blob has its own line.
const lineFrom = 1 << 20

// line is the bar of a blob in transfer, labelled with its repository; nil if it is not shown.
type line struct {
	of  *Progress
	bar *mpb.Bar
}

// newLine shows the line of a blob, on a terminal and if the blob is large.
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
