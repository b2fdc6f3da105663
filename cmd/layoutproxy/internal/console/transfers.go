package console

import (
	"sync/atomic"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/layoutproxy/layoutproxy/importer/push"
)

// Transfers shows how far a push is: by a progress of all of it, and on a terminal by
// a line for each blob under way as well. It is a push.Progress.
type Transfers struct{ *Progress }

// Expect says how many bytes there are in all.
func (t Transfers) Expect(bytes int64) { t.Progress.Begin(0, bytes) }

// Begin says that a blob of a repository is under way.
func (t Transfers) Begin(repository string, size int64) push.Transfer {
	return &sent{all: t.Progress, size: size, line: t.newLine(repository, size)}
}

// sent is one blob that is sent.
type sent struct {
	all  *Progress
	line *line
	size int64
	pos  atomic.Int64
}

// At says how many bytes of it are there, which may be fewer than before.
func (t *sent) At(pos int64) {
	t.all.Read(int(pos - t.pos.Swap(pos)))
	t.line.at(pos)
}

// End says that it is over, with all of it there or with nothing.
func (t *sent) End(done bool) {
	pos := int64(0)
	if done {
		pos = t.size
	}
	t.At(pos)
	t.line.end()
}

// lineFrom is the size of a blob from which on it has a line of its own.
const lineFrom = 1 << 20

// line is that of a blob under way, named for its repository; nil where none is shown.
type line struct{ bar *mpb.Bar }

// newLine shows the line of a blob of a repository, on a terminal and if it is worth one.
func (p *Progress) newLine(repository string, size int64) *line {
	if p.bars == nil || size < lineFrom {
		return nil
	}
	return &line{p.bars.AddBar(size, mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(repository, decor.WCSyncSpaceR), decor.Counters(decor.SizeB1000(0), "% .1f of % .1f", decor.WCSyncSpaceR)))}
}

func (l *line) at(pos int64) {
	if l != nil {
		l.bar.SetCurrent(pos)
	}
}

func (l *line) end() {
	if l != nil {
		l.bar.Abort(true)
	}
}
