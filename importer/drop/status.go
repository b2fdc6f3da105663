package drop

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"go.uber.org/zap"
)

// Status is the state of one bundle in a drop directory.
type Status struct {
	Name string `json:"name"`
	// State is "waiting", "verifying", "published" or "failed".
	State  string `json:"state"`
	Detail string `json:"detail"` // what the bundle waits for, why it failed, or which of its files stay

	Since time.Time `json:"since"` // time at which State or Detail last changed

	// Kind is "archive", "directory", or "entry". An entry is not a bundle, but has to be reported.
	Kind string `json:"kind,omitempty"`
	// While State is "verifying", Bytes is the number of bytes verified so far, out of Total, and
	// Rate is in bytes per second.
	Bytes      int64  `json:"bytes"`
	Total      int64  `json:"total"`
	Rate       int64  `json:"rate"`
	Generation uint64 `json:"generation"` // generation of the store after the bundle's import; 0 before
}

// Totals count the work of a Drop since it was created.
type Totals struct {
	Published, Failed int
	Bytes             int64 // bytes verified by all imports
}

// justChanged is the reason why a bundle waits after a recent change, because somebody may still be
// copying it.
const justChanged = "it changed a moment ago"

// wait makes a bundle wait for a reason. It logs the reason unless the bundle has just changed or
// will be retried.
func (d *Drop) wait(it *item, reason string) {
	if d.setState(it, "waiting", reason) && reason != justChanged && it.retry.IsZero() {
		d.log.Warn("waiting in the drop directory", zap.String("name", it.name), zap.String("kind", it.kind), zap.String("reason", reason))
	}
}

// waitForChange makes a bundle wait for a reason until it changes.
func (d *Drop) waitForChange(it *item, reason string) time.Duration {
	d.wait(it, reason)
	it.settled = true
	return 0
}

// setState sets the state and detail of a bundle, and reports whether they changed.
func (d *Drop) setState(it *item, state, detail string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if it.status.State == state && it.status.Detail == detail {
		return false
	}
	it.status.State, it.status.Detail, it.status.Since = state, detail, d.options.Now()
	it.status.Bytes, it.status.Total, it.status.Rate = 0, 0, 0
	switch state {
	case "published":
		d.totals.Published++
	case "failed":
		d.totals.Failed++
	}
	return true
}

// Begin implements Progress.
func (d *Drop) Begin(_ int, bytes int64) {
	d.updateVerifying(func(s *Status) { s.Total = bytes })
}

// Read implements Progress.
func (d *Drop) Read(n int) {
	d.updateVerifying(func(s *Status) { s.Bytes += int64(n) })
	d.logProgress()
}

// progressEvery is the interval between log lines about a running import.
const progressEvery = 10 * time.Second

// logProgress logs the progress of the running import, at most once per progressEvery.
func (d *Drop) logProgress() {
	now := d.options.Now()
	d.mu.Lock()
	var running *Status
	for _, it := range d.items {
		if s := it.status; s.State == "verifying" && now.Sub(s.Since) >= progressEvery && now.Sub(d.logged) >= progressEvery {
			running, d.logged = &s, now
		}
	}
	d.mu.Unlock()
	if running == nil {
		return
	}
	rate := float64(running.Bytes) / now.Sub(running.Since).Seconds()
	left := time.Duration(float64(running.Total-running.Bytes) / max(rate, 1) * float64(time.Second))
	d.log.Info("importing", zap.String("bundle", running.Name), zap.String("done", humanize.Bytes(uint64(max(0, running.Bytes)))),
		zap.String("of", humanize.Bytes(uint64(max(0, running.Total)))), zap.String("rate", humanize.Bytes(uint64(rate))+"/s"), zap.Duration("left", max(0, left).Round(time.Second)))
}

// updateVerifying changes the status of the running import, and adds its bytes to the totals.
func (d *Drop) updateVerifying(change func(*Status)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, it := range d.items {
		if it.status.State == "verifying" {
			before := it.status.Bytes
			change(&it.status)
			d.totals.Bytes += it.status.Bytes - before
		}
	}
}

// Status returns the state of each bundle in the directory, sorted by name. Then follow the bundles
// that were last moved to done or failed, or removed.
func (d *Drop) Status() []Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := []Status{}
	if d.damaged != nil {
		all = append(all, *d.damaged)
	}
	for _, it := range d.items {
		s := it.status
		if spent := d.options.Now().Sub(s.Since); s.State == "verifying" && spent > 0 {
			s.Rate = int64(float64(s.Bytes) / spent.Seconds())
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b Status) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Kind, b.Kind))
	})
	return append(all, d.history...)
}

// Totals returns how much work the Drop has done so far.
func (d *Drop) Totals() Totals {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.totals
}
