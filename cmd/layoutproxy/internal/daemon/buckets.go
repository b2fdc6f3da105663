package daemon

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/source"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/outage"
)

// newMonitor returns a monitor of buckets. It logs when a bucket becomes unreachable, and when it
// is reachable again.
func newMonitor(log *zap.Logger) *outage.Monitor {
	return outage.New(outage.Options{Changed: func(place string, err error) {
		if err != nil {
			log.Warn("a bucket cannot be reached: requests wait, unless their content is in memory", zap.String("bucket", place), zap.Error(err))
		} else {
			log.Info("the bucket can be reached again", zap.String("bucket", place))
		}
	}})
}

// newReachable returns the metric of a monitor: whether the buckets that the server uses can be reached.
func newReachable(m *outage.Monitor) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "layoutproxy_buckets_reachable",
		Help: "Whether all buckets of the sources and of the store can be reached: 1 or 0.",
	}, func() float64 {
		if m.Err() != nil {
			return 0
		}
		return 1
	})
}

// monitored returns a copy of o whose bucket readers report failures and successes to m.
func monitored(m *outage.Monitor, o layoutstore.Options) layoutstore.Options {
	open := o.Buckets
	if open == nil {
		return o
	}
	o.Buckets = func(at bucket.Place) bucket.Reader { return m.Reader(open(at)) }
	return o
}

// bucketLogEvery is how often the log says that layoutproxy is still waiting for a bucket.
const bucketLogEvery = 10 * time.Second

// open opens the sources. If a bucket does not answer, open waits, because the object store may
// still be starting. If rescan is 0, it does not wait. If a bucket refuses the requests, open fails
// at once, because then the configuration is wrong.
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
		log.Warn("waiting for a bucket: layoutproxy serves nothing until it answers", zap.Error(err))
		waiting, cancel := context.WithTimeout(ctx, bucketLogEvery)
		_ = m.Wait(waiting) // Wait fails when bucketLogEvery has passed.
		cancel()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

// mayAnswerLater reports whether err means that an object store is silent or fails temporarily.
func mayAnswerLater(err error) bool {
	var e *bucket.Error
	if !errors.Is(err, bucket.ErrUnreachable) || !errors.As(err, &e) {
		return false
	}
	return e.Status == 0 || e.Status >= http.StatusInternalServerError || e.Status == http.StatusTooManyRequests
}

// redirectExpires is how long a URL to which a client is redirected is valid. Clients use it at
// once. The minutes allow for a difference between the clocks of layoutproxy and the object store.
// A running download may take longer.
const redirectExpires = 5 * time.Minute

// redirect returns the URL in the bucket for a blob that is stored as one object. It returns false if the
// client must not be redirected, because there is no such object or the bucket cannot be reached.
func redirect(ctx context.Context, b *layoutstore.Blob) (string, bool) {
	url, ok, err := b.Presign(ctx, redirectExpires)
	return url, ok && err == nil
}
