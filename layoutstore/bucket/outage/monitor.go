// Package outage detects when an object store becomes unreachable, and when it is reachable again.
//
// A [Monitor] wraps the readers of places ([Monitor.Reader]) and observes their requests. While a store
// does not answer at all, further requests fail at once, and [Monitor.Run] probes the store regularly.
// [Monitor.Err] returns why a store is unreachable, and [Monitor.Wait] waits until it recovers.
package outage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
)

// Options configures a Monitor. The zero value is ready to use.
type Options struct {
	// Changed is called with the error when a place begins to fail, and with nil when it recovers.
	// Changed may be nil.
	Changed func(place string, err error)
	// Sleep waits between probes. nil means that the real clock is used.
	Sleep func(context.Context, time.Duration) error
	// Now is the clock that measures how long callers wait for answers. nil means time.Now.
	Now func() time.Time
}

// Monitor records which places cannot be read.
type Monitor struct {
	options Options
	failed  chan struct{} // has capacity 1; a value means that a place must be probed

	mu        sync.Mutex
	places    map[string]*place
	recovered chan struct{} // closed when a failed place can be read again
}

// place is the state of a place in a bucket. The zero value is a place that can be read.
type place struct {
	// reader sends the probes. It is the reader to which the store has responded last or, before that, the first
	// one: a later reader may have settings with which it never gets a response.
	reader bucket.Reader
	// listing is the error from the last call of List, or nil if it succeeded.
	listing error
	// reading is the error from the last read of an object, or nil if it succeeded.
	reading error
	// key is the key of the object that was read last.
	key string
	// silent means that the store does not respond at all.
	silent bool
	// unused means that nothing needs the place any more, so its failures do not matter.
	unused bool
}

const (
	probePause = 2 * time.Second
	// probeWait is how long a probe waits for its answer.
	probeWait = 10 * time.Second
	// late is how long a caller waits without a response until the store counts as unreachable.
	late = 10 * time.Second
)

// errLate is the cause of an outage in which the store does not respond.
var errLate = fmt.Errorf("no answer for %s", late)

// New returns a monitor. Pass it the places to monitor with [Monitor.Reader].
func New(o Options) *Monitor {
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Monitor{options: o, failed: make(chan struct{}, 1), places: map[string]*place{}, recovered: make(chan struct{})}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Err returns why a place cannot be read, or nil if all places can be read. The error wraps
// [bucket.ErrUnreachable].
func (m *Monitor) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(m.places)) {
		if err := m.places[name].failure(); err != nil {
			return err
		}
	}
	return nil
}

// failure returns why the place cannot be read, or nil if it can or is not used.
func (p place) failure() error {
	if p.unused {
		return nil
	}
	return cmp.Or(p.listing, p.reading)
}

// KeepPlaces tells the monitor which places are still used. It stops monitoring all others, and forgets their
// failures. Their readers still work.
func (m *Monitor) KeepPlaces(names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	failed := false
	for name, p := range m.places {
		if !slices.Contains(names, name) {
			failed = failed || p.failure() != nil
			p.unused = true
		}
	}
	if failed { // a caller of Wait may wait for such a place
		close(m.recovered)
		m.recovered = make(chan struct{})
	}
}

// Wait waits until a failed place can be read again, so that the caller can retry. If no place has
// failed, it waits for a second. If ctx ends first, Wait returns the cause of ctx.
func (m *Monitor) Wait(ctx context.Context) error {
	m.mu.Lock()
	recovered := m.recovered
	m.mu.Unlock()
	if m.Err() == nil {
		return m.options.Sleep(ctx, time.Second)
	}
	select {
	case <-recovered:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Run probes the places that fail, until ctx ends. It returns nil.
func (m *Monitor) Run(ctx context.Context) error {
	for {
		select {
		case <-m.failed:
		case <-ctx.Done():
			return nil
		}
		for m.probe(ctx) && ctx.Err() == nil {
			if m.options.Sleep(ctx, probePause) != nil {
				return nil
			}
		}
	}
}

// probe sends requests to each place that fails. It reports whether any place still fails.
func (m *Monitor) probe(ctx context.Context) (failing bool) {
	m.mu.Lock()
	names := slices.Sorted(maps.Keys(m.places))
	m.mu.Unlock()
	for _, name := range names {
		p := m.state(name)
		if p.unused {
			continue
		}
		w := &watched{m, name, p.reader}
		if p.listing != nil || p.silent {
			w.probe(ctx, func(ctx context.Context) error {
				return w.list(ctx, "", func(bucket.Object) error { return errEnough })
			})
		}
		if p.reading != nil {
			// HEAD would not suffice: its response has no body, so a 404 does not show whether the
			// bucket or the object is missing.
			w.probe(ctx, func(ctx context.Context) error {
				body, _, err := w.get(ctx, p.key, 0, 1, "")
				if err == nil {
					err = body.Close()
				}
				return err
			})
		}
		failing = failing || m.state(name).failure() != nil
	}
	return failing
}

// state returns a copy of the current state of a place.
func (m *Monitor) state(name string) place {
	m.mu.Lock()
	defer m.mu.Unlock()
	return *m.places[name]
}

// errEnough stops List after the first object.
var errEnough = errors.New("enough")

// probe sends one request with a time limit. The watched reader w records the result.
func (w *watched) probe(ctx context.Context, request func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	_ = request(ctx) // the request has recorded its error in the monitor
}
