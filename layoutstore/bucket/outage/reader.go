package outage

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
)

// Reader returns a reader of the same place as r. The monitor observes calls of the new reader's List,
// Get and Stat, which fail at once while the store does not answer. If r is a [bucket.Bucket], the new
// reader is one, too. The monitor neither observes nor stops its other requests, such as Put.
func (m *Monitor) Reader(r bucket.Reader) bucket.Reader {
	name := r.Place()
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.places[name]; p == nil || p.unused {
		m.places[name] = &place{reader: r}
	}
	w := &watched{m, name, r}
	if b, ok := r.(bucket.Bucket); ok {
		return &watchedBucket{w, b}
	}
	return w
}

// watchedBucket adds the methods that write to a watched reader.
type watchedBucket struct {
	*watched
	bucket bucket.Bucket
}

func (w *watchedBucket) Put(ctx context.Context, key string, body io.Reader, size int64, options bucket.PutOptions) (bucket.Object, error) {
	return w.bucket.Put(ctx, key, body, size, options)
}

func (w *watchedBucket) Delete(ctx context.Context, key string) error {
	return w.bucket.Delete(ctx, key)
}

func (w *watchedBucket) Uploads(ctx context.Context, prefix string, each func(bucket.Upload) error) error {
	return w.bucket.Uploads(ctx, prefix, each)
}

func (w *watchedBucket) Abort(ctx context.Context, upload bucket.Upload) error {
	return w.bucket.Abort(ctx, upload)
}

// PresignGet implements bucket.Bucket. It fails while the place cannot be read.
func (w *watchedBucket) PresignGet(ctx context.Context, key string, expires time.Duration) (string, error) {
	if failure := w.monitor.state(w.name).failure(); failure != nil {
		return "", failure
	}
	return w.bucket.PresignGet(ctx, key, expires)
}

// watched is a reader whose results the monitor records.
type watched struct {
	monitor *Monitor
	name    string
	reader  bucket.Reader
}

func (w *watched) Place() string { return w.name }

func (w *watched) List(ctx context.Context, prefix string, each func(bucket.Object) error) error {
	if err := w.monitor.silence(w.name); err != nil {
		return err
	}
	return w.list(ctx, prefix, each)
}

func (w *watched) list(ctx context.Context, prefix string, each func(bucket.Object) error) error {
	begun := w.monitor.options.Now()
	var own error // the error from the function each, which does not mean that the store failed
	err := w.reader.List(ctx, prefix, func(o bucket.Object) error {
		own = each(o)
		begun = w.monitor.options.Now() // a long list is not late as long as objects arrive
		return own
	})
	noted := err
	if own != nil {
		noted = nil
	}
	w.monitor.note(ctx, w, begun, noted, func(p *place, failure error) { p.listing = failure })
	return err
}

func (w *watched) Get(ctx context.Context, key string, off, n int64, ifMatch string) (io.ReadCloser, bucket.Object, error) {
	if err := w.monitor.silence(w.name); err != nil {
		return nil, bucket.Object{}, err
	}
	return w.get(ctx, key, off, n, ifMatch)
}

func (w *watched) get(ctx context.Context, key string, off, n int64, ifMatch string) (io.ReadCloser, bucket.Object, error) {
	begun := w.monitor.options.Now()
	body, o, err := w.reader.Get(ctx, key, off, n, ifMatch)
	w.noteObject(ctx, begun, key, err)
	return body, o, err
}

func (w *watched) Stat(ctx context.Context, key string) (bucket.Object, error) {
	if err := w.monitor.silence(w.name); err != nil {
		return bucket.Object{}, err
	}
	begun := w.monitor.options.Now()
	o, err := w.reader.Stat(ctx, key)
	w.noteObject(ctx, begun, key, err)
	return o, err
}

func (w *watched) noteObject(ctx context.Context, begun time.Time, key string, err error) {
	w.monitor.note(ctx, w, begun, err, func(p *place, failure error) { p.reading, p.key = failure, key })
}

// silence returns the error of a place whose store does not respond at all. For other places, it returns nil.
func (m *Monitor) silence(name string) error {
	p := m.state(name)
	if !p.silent {
		return nil
	}
	return p.failure()
}

// note records the result of a request of w. It calls set with the error if the store failed, and with
// nil otherwise.
func (m *Monitor) note(ctx context.Context, w *watched, begun time.Time, err error, set func(*place, error)) {
	name := w.name
	answered := !errors.Is(err, bucket.ErrUnreachable)
	if err != nil && ctx.Err() != nil {
		if m.options.Now().Sub(begun) < late {
			return // the caller did not wait long enough to blame the store
		}
		answered, err = false, &bucket.Error{Where: name, Kind: bucket.ErrUnreachable, Cause: errLate}
	}
	m.mu.Lock()
	p := m.places[name]
	before := p.failure()
	if answered {
		p.reader = w.reader
		set(p, nil)
		if p.silent { // the store responds again: forget failures that were caused by missing responses
			p.silent = false
			p.listing, p.reading = withAnswer(p.listing), withAnswer(p.reading)
		}
	} else {
		set(p, err)
		p.silent = p.silent || withAnswer(err) == nil
	}
	after := p.failure()
	if before != nil && after == nil {
		close(m.recovered)
		m.recovered = make(chan struct{})
	}
	m.mu.Unlock()
	if after != nil {
		select {
		case m.failed <- struct{}{}:
		default: // Run already knows that it must probe
		}
	}
	if m.options.Changed != nil && (before == nil) != (after == nil) {
		m.options.Changed(name, after)
	}
}

// withAnswer returns err if the store responded with it. If there was no response, it returns nil.
func withAnswer(err error) error {
	var e *bucket.Error
	if errors.As(err, &e) && e.Status == 0 {
		return nil
	}
	return err
}
