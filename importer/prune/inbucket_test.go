package prune_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/importer/prune"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/buckettest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

const inBucket = "s3://" + buckettest.Bucket + "/store"

// twins are two stores, one in a directory and one in a bucket. All imports and prunes are the same for both.
type twins struct {
	dir    string
	server *buckettest.Server
	now    time.Time
}

func newTwins(t *testing.T) *twins {
	w := &twins{dir: filepath.Join(importertest.Scratch(t), "store"), server: buckettest.Start(t), now: time.Now()}
	for n := 1; n <= 4; n++ {
		bundle := importertest.ArchiveOf(t, filepath.Join(t.TempDir(), "a.tar"),
			fmt.Sprintf("modules/app:v1.%d.0=app%d", n, n), fmt.Sprintf("modules/app:stable=app%d", n), fmt.Sprintf("other:v0.%d.0=app%d", n%2, n%2), "base:v1.0.0=base")
		importertest.Imported(t, w.dir, bundle)
		i, err := importer.New(importer.Options{Store: inBucket, Buckets: w.server.Buckets(t)})
		layouttest.Try(t, err)
		_, err = i.Import(t.Context(), bundle)
		layouttest.Try(t, err)
	}
	return w
}

// each calls do for each of the two stores, with a pruner for the store.
func (w *twins) each(t *testing.T, do func(*prune.Pruner) prune.Plan) (plans []prune.Plan) {
	t.Helper()
	for _, o := range []prune.Options{{Store: w.dir}, {Store: inBucket, Buckets: w.server.Buckets(t)}} {
		o.Now = func() time.Time { return w.now }
		p, err := prune.New(o)
		layouttest.Try(t, err)
		plans = append(plans, do(p))
	}
	return plans
}

// same verifies both stores, and fails if their content differs.
func (w *twins) same(t *testing.T, what string) importertest.Content {
	t.Helper()
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{inBucket}, Indexes: []string{}, Buckets: w.server.Readers(t)})
	layouttest.Try(t, err)
	got, err := importertest.ContentOfSnapshot(t.Context(), tree.Snapshot())
	layouttest.Try(t, err)
	want := importertest.MustContent(t, w.dir)
	importertest.Same(t, what, got, want)
	return want
}

// samePlans fails if the plans for the two stores do not remove and keep the same content.
func samePlans(t *testing.T, plans []prune.Plan) {
	t.Helper()
	for i := range plans {
		plans[i].Store, plans[i].Time, plans[i].Remove.Bytes = "", time.Time{}, 0
	}
	if diff := cmp.Diff(plans[0], plans[1]); diff != "" {
		t.Errorf("the plans of the two stores differ, want equal plans (-directory +bucket):\n%s", diff)
	}
}

// A prune of a store in a bucket removes the same content as a prune of a store in a directory. Objects are
// deleted only later, when no replica and no pull can need them anymore.
func TestPruneInBucket(t *testing.T) {
	w := newTwins(t)
	full := w.same(t, "before")
	keys := len(w.server.Keys(t, "store/blobs/"))
	request := prune.Request{Policy: prune.Policy{KeepNewest: 2}, Grace: time.Hour}
	w.server.ResetCounts()
	samePlans(t, w.each(t, func(p *prune.Pruner) prune.Plan {
		plan, err := p.Plan(t.Context(), request)
		layouttest.Try(t, err)
		return plan
	}))
	for operation, n := range w.server.Counts() {
		if operation == buckettest.Put || operation == buckettest.Delete {
			t.Errorf("Plan sent %d requests of the kind %s to the bucket, want none", n, operation)
		}
	}
	plans := w.each(t, func(p *prune.Pruner) prune.Plan {
		plan, err := p.Run(t.Context(), request)
		layouttest.Try(t, err)
		return plan
	})
	if plans[1].Remove.Tags == 0 {
		t.Fatal("the prune removed no tags, want some, because otherwise this test checks nothing")
	}
	samePlans(t, plans)
	if got := w.same(t, "after the prune"); len(got) != len(full)-plans[1].Remove.Tags {
		t.Errorf("after the prune, the store has %d tags, want %d", len(got), len(full)-plans[1].Remove.Tags)
	}
	w.now = w.now.Add(2 * time.Hour)
	samePlans(t, w.each(t, func(p *prune.Pruner) prune.Plan {
		plan, next, err := p.Sweep(t.Context())
		layouttest.Try(t, err)
		if !next.IsZero() || len(plan.Remove.Images) == 0 {
			t.Errorf("Sweep after the grace period: next end %v, removed %+v; want no next end, and removed images", next, plan.Remove)
		}
		return plan
	}))
	w.same(t, "after the grace period")
	leftovers := func() prune.Leftovers {
		p, err := prune.New(prune.Options{Store: inBucket, Buckets: w.server.Buckets(t)})
		layouttest.Try(t, err)
		found, err := p.Leftovers(t.Context(), prune.LeftoversRequest{Remove: true})
		layouttest.Try(t, err)
		return found
	}
	if found := leftovers(); len(found.List) > 0 {
		t.Errorf("Leftovers right after the prune found %+v, want nothing", found)
	}
	w.server.Advance(48 * time.Hour)
	if found := leftovers(); len(found.List) != 1 || len(w.server.Keys(t, "store/blobs/")) >= keys {
		t.Errorf("Leftovers after two days found %+v, want 1 entry; %d blobs are left, want fewer than %d", found, len(w.server.Keys(t, "store/blobs/")), keys)
	}
	w.same(t, "after the objects are deleted")
}
