package daemon

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/source"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/outage"
)

// newMonitor returns a monitor that logs when a bucket becomes unreachable and reachable again.
func newMonitor(log *zap.Logger) *outage.Monitor {
	return outage.New(outage.Options{Changed: func(place string, err error) {
		if err != nil {
			log.Warn("a bucket cannot be reached: requests wait for what is not in memory", zap.String("bucket", place), zap.Error(err))
		} else {
			log.Info("the bucket can be reached again", zap.String("bucket", place))
		}
	}})
}

// monitored returns o with readers of buckets that report to m.
func monitored(m *outage.Monitor, o layoutstore.Options) layoutstore.Options {
	open := o.Buckets
	if open == nil {
		return o
	}
	o.Buckets = func(at bucket.Place) bucket.Reader { return m.Reader(open(at)) }
	return o
}

// bucketLogEvery is the interval at which layoutproxy logs that it is still waiting for a bucket.
const bucketLogEvery = 10 * time.Second

// open opens the sources. It waits for a bucket that does not answer, because the object store may
// be starting too, unless rescans are off. It fails at once if a bucket refuses the requests,
// because then the configuration is wrong.
func open(ctx context.Context, log *zap.Logger, m *outage.Monitor, o layoutstore.Options, rescan time.Duration) (tree *layoutstore.Tree, err error) {
	probing, stop := context.WithCancel(ctx)
	var probes sync.WaitGroup
	probes.Go(func() { _ = m.Run(probing) }) // never fails
	defer probes.Wait()
	defer stop()
	for {
		tree, err = source.Open(ctx, o)
		if err == nil || rescan == 0 || !mayAnswerLater(err) {
			return tree, err
		}
		log.Warn("waiting for a bucket before anything is served", zap.Error(err))
		waiting, cancel := context.WithTimeout(ctx, bucketLogEvery)
		_ = m.Wait(waiting) // fails when the time is over
		cancel()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

// mayAnswerLater reports whether err means that an object store does not answer, or has a temporary
// failure.
func mayAnswerLater(err error) bool {
	var e *bucket.Error
	if !errors.Is(err, bucket.ErrUnreachable) || !errors.As(err, &e) {
		return false
	}
	return e.Status == 0 || e.Status >= http.StatusInternalServerError || e.Status == http.StatusTooManyRequests
}

// redirectExpires is how long the URL of a redirect is valid. Clients follow it at once, and a
// running download outlasts it; most of the time allows for clocks that differ.
const redirectExpires = 5 * time.Minute

// redirect returns a URL for a blob that is stored as one object. If the bucket cannot be reached,
// ok is false: the client waits here instead.
func redirect(ctx context.Context, b *layoutstore.Blob) (string, bool) {
	url, ok, err := b.Presign(ctx, redirectExpires)
	return url, ok && err == nil
}
