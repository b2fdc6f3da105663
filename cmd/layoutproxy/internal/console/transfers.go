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

// barFrom is the size of a blob from which on it has a line of its own.
const barFrom = 1 << 20

// Expect says how many bytes there are in all.
func (t Transfers) Expect(bytes int64) { t.Progress.Begin(0, bytes) }

// Begin says that a blob is under way.
func (t Transfers) Begin(name string, size int64) push.Transfer {
	one := &transfer{all: t.Progress, size: size}
	if t.bars != nil && size >= barFrom {
		one.bar = t.bars.AddBar(size, mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name(name+" "), decor.Counters(decor.SizeB1000(0), "% .1f of % .1f")))
	}
	return one
}

// transfer is one blob under way.
type transfer struct {
	all  *Progress
	size int64
	bar  *mpb.Bar // nil without a line of its own
	pos  atomic.Int64
}

// At says how many bytes of it are there, which may be fewer than before.
func (t *transfer) At(pos int64) {
	t.all.Read(int(pos - t.pos.Swap(pos)))
	if t.bar != nil {
		t.bar.SetCurrent(pos)
	}
}

// End says that it is over, with all of it there or with nothing.
func (t *transfer) End(done bool) {
	pos := int64(0)
	if done {
		pos = t.size
	}
	t.At(pos)
	if t.bar != nil {
		t.bar.Abort(true)
	}
}
