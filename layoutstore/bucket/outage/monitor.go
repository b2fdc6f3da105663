// Package outage detects that an object store cannot be reached, and that it can be reached again.
//
// A [Monitor] wraps the readers of places ([Monitor.Reader]) and observes their requests. While a
// store does not answer at all, further requests fail at once instead of waiting for it, and
// [Monitor.Run] probes it regularly. [Monitor.Err] returns the failure, and [Monitor.Wait] waits
// for its end.
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

// Options of a Monitor. The zero value is ready to use.
type Options struct {
	// Changed, if not nil, is called when a place begins to fail, with the error, and when it can
	// be read again, with nil.
	Changed func(place string, err error)
	// Sleep waits between probes; nil waits on the real clock.
	Sleep func(context.Context, time.Duration) error
	// Now is the clock that measures the wait for answers; nil is time.Now.
	Now func() time.Time
}

// Monitor records which places cannot be read.
type Monitor struct {
	options Options
	failed  chan struct{} // capacity 1; a value means that a place has to be probed

	mu        sync.Mutex
	places    map[string]*place
	recovered chan struct{} // closed when a place can be read again
}

// place is the state of a place in a bucket. The zero value is a place that can be read.
type place struct {
	reader  bucket.Reader
	listing error  // of the last list, if it failed
	reading error  // of the last object, if it failed
	key     string // of that object
	silent  bool   // the store does not answer at all
}

const (
	// probePause is the time between two probes.
	probePause = 2 * time.Second
	// probeWait is how long an answer to a probe may take.
	probeWait = 10 * time.Second
	// late is how long a caller must have waited for an answer, before giving up, for the store
	// to count as failed.
	late = 10 * time.Second
)

// errLate is the cause of a failure without an answer.
var errLate = fmt.Errorf("no answer for %s", late)

// New returns a monitor of no places.
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

// Err returns why a place cannot be read, or nil. It wraps [bucket.ErrUnreachable].
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

// failure returns why the place cannot be read, or nil.
func (p place) failure() error { return cmp.Or(p.listing, p.reading) }

// Wait waits until a failed place can be read again, or for a second if none has failed. The caller
// then tries again. Errors: the cause of ctx.
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

// probe sends a request for each place that fails, and reports whether any still fails.
func (m *Monitor) probe(ctx context.Context) (failing bool) {
	m.mu.Lock()
	names := slices.Sorted(maps.Keys(m.places))
	m.mu.Unlock()
	for _, name := range names {
		p := m.state(name)
		w := &watched{m, name, p.reader}
		if p.listing != nil || p.silent {
			w.probe(ctx, func(ctx context.Context) error {
				return w.list(ctx, "", func(bucket.Object) error { return errEnough })
			})
		}
		if p.reading != nil {
			// Not HEAD: without a body, 404 does not distinguish a missing bucket from a missing object.
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

// state returns the present state of a place.
func (m *Monitor) state(name string) place {
	m.mu.Lock()
	defer m.mu.Unlock()
	return *m.places[name]
}

// errEnough ends a list after the first object.
var errEnough = errors.New("enough")

// probe sends one request even if the store does not answer, and w records the result.
func (w *watched) probe(ctx context.Context, request func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	_ = request(ctx) // w has recorded the error
}
