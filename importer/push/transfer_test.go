package push

import "testing"

// counter counts the bytes of all transfers, as /status does.
type counter struct{ total, pos int64 }

func (c *counter) At(pos int64) { c.total, c.pos = c.total+pos-c.pos, pos }

func (c *counter) End(done bool) {
	if !done {
		c.At(0)
	}
}

// net/http may read the body of a request even after the request has failed: a RoundTripper may close the body "in a
// separate goroutine even after RoundTrip returns" (documentation of http.RoundTripper). The bytes of a failed
// transfer do not count.
func TestLateReadsDoNotCount(t *testing.T) {
	for name, early := range map[string]bool{"after the first bytes": true, "before the first bytes": false} {
		var c counter
		started := 0
		l := &lazyTransfer{begin: func() Transfer {
			started++
			return &c
		}}
		if early {
			l.at(10)
		}
		l.end(false)
		l.at(20)
		if want := map[bool]int{true: 1, false: 0}[early]; started != want || c.total != 0 {
			t.Errorf("a transfer that failed %s: got %d transfers with %d bytes, want %d with 0", name, started, c.total, want)
		}
	}
}
