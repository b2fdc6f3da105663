package daemon

import (
	"context"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/source"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/outage"
)

// newMonitor returns what learns which buckets cannot be reached, and logs it.
func newMonitor(log *zap.Logger) *outage.Monitor {
	return outage.New(outage.Options{Changed: func(place string, err error) {
		if err != nil {
			log.Warn("a bucket cannot be reached: requests wait for what is not in memory", zap.String("bucket", place), zap.Error(err))
		} else {
			log.Info("the bucket can be reached again", zap.String("bucket", place))
		}
	}})
}

// monitored has the readers of all buckets watched.
func monitored(m *outage.Monitor, o layoutstore.Options) layoutstore.Options {
	open := o.Buckets
	if open == nil {
		return o
	}
	o.Buckets = func(at bucket.Place) bucket.Reader { return m.Reader(open(at)) }
	return o
}

// waitsForBucket is how long the start waits for a bucket before it says so once more.
const waitsForBucket = 10 * time.Second

// open opens the sources. A bucket that does not answer is waited for, because it may have
// started at the same time; without a rescan, the start ends instead. A store that refuses
// ends it in any case: that is an error of the configuration.
func open(ctx context.Context, log *zap.Logger, m *outage.Monitor, o layoutstore.Options, rescan time.Duration) (tree *layoutstore.Tree, err error) {
	probing, stop := context.WithCancel(ctx)
	group, probing := errgroup.WithContext(probing)
	group.Go(func() error { return m.Run(probing) })
	defer func() {
		stop()
		_ = group.Wait() // nil
	}()
	for {
		tree, err = source.Open(ctx, o)
		if err == nil || rescan == 0 || !mayAnswerLater(err) {
			return tree, err
		}
		log.Warn("waiting for a bucket before anything is served", zap.Error(err))
		waiting, cancel := context.WithTimeout(ctx, waitsForBucket)
		_ = m.Wait(waiting) // or the time is over
		cancel()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

// mayAnswerLater reports whether err is about a store that does not answer, or answers that it
// cannot at the moment.
func mayAnswerLater(err error) bool {
	var e *bucket.Error
	if !errors.Is(err, bucket.ErrUnreachable) || !errors.As(err, &e) {
		return false
	}
	return e.Status == 0 || e.Status >= http.StatusInternalServerError || e.Status == http.StatusTooManyRequests
}

// redirectExpires is how long the URL of a redirect can be used. Clients follow it at once, and
// a download that has begun continues; the rest is for clocks that differ.
const redirectExpires = 5 * time.Minute

// redirect returns the URL of a blob that is an object of its own. A bucket that cannot be
// reached is not named to clients: they wait here.
func redirect(ctx context.Context, b *layoutstore.Blob) (string, bool) {
	url, ok, err := b.Presign(ctx, redirectExpires)
	return url, ok && err == nil
}
