package daemon

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/pruning"
	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/prune"
	stores "github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// importVersion imports version n of app, an index with two images, into a store.
func importVersion(t *testing.T, store string, n int, packed bool) {
	t.Helper()
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("app")
	var children []specs.Descriptor
	for c := range 2 {
		children = append(children, l.Image(layouttest.Image{Name: fmt.Sprint("version ", n, c), LayerSizes: []int64{20_000, 50}}))
	}
	d := l.Index(layouttest.Index{Children: children})
	l.Tag(d, fmt.Sprintf("v1.%d.0", n))
	l.Tag(d, "stable")
	l.Write()
	from := tree.Dir()
	if packed {
		from = filepath.Join(t.TempDir(), fmt.Sprintf("app%d.tar", n))
		tree.Archive(from, layouttest.Archive{})
	}
	i, err := importer.New(importer.Options{Store: store, KeepPacked: packed})
	layouttest.Try(t, err)
	_, err = i.Import(t.Context(), from)
	layouttest.Try(t, err)
}

// pullAll pulls an image or index with all its content, and verifies the digests. found is false if
// the tag does not exist.
func pullAll(client *http.Client, base, reference string) (found bool, err error) {
	body, d, err := fetch(client, base+"/manifests/"+reference)
	if err != nil && strings.Contains(err.Error(), "404") && !strings.HasPrefix(reference, "sha256:") {
		return false, nil
	}
	if err != nil {
		return true, err
	}
	if got := digest.FromBytes(body).String(); got != d {
		return true, fmt.Errorf("manifest %s: got the digest %s in the header, want %s, the digest of the body", reference, d, got)
	}
	refs, err := closure.Parse(body)
	if err != nil {
		return true, err
	}
	for _, c := range refs.Children {
		if _, err := pullAll(client, base, c.Digest.String()); err != nil {
			return true, err
		}
	}
	for _, b := range refs.Blobs {
		body, _, err := fetch(client, base+"/blobs/"+b.Digest.String())
		if err != nil {
			return true, err
		}
		if got := digest.FromBytes(body); got != b.Digest {
			return true, fmt.Errorf("blob %s: the body has the digest %s, want the requested digest", b.Digest, got)
		}
	}
	return true, nil
}

// Clients pull without a pause while a store is pruned. Every pull that has begun succeeds, even if
// a prune removes the tag meanwhile. Images that are kept are always found. The prunes and the
// server share only the disk, like two processes. With LAYOUTPROXY_TEST_ALL=1, the test sends more
// than 100,000 requests, nine per image.
func TestPullsDuringPrunes(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	importVersion(t, store, 0, false)
	registry, _ := inProcess(t, "--rescan", "1s", "--store", store)
	base := "http://" + registry + "/v2/app"
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 32}}
	var wg sync.WaitGroup
	var oldest, latest, pulls, gone atomic.Int64 // Pulls of the version in oldest and of later versions must succeed.
	done := make(chan struct{})
	for c := range 8 {
		wg.Go(func() {
			for n := c; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				number := max(0, latest.Load()-int64(n%5))
				tag := fmt.Sprintf("v1.%d.0", number)
				if n%4 == 0 {
					tag, number = "stable", latest.Load()
				}
				found, err := pullAll(client, base, tag)
				if err != nil && strings.Contains(err.Error(), "429 ") {
					continue // The disk is busy. Clients retry after 429.
				}
				if err != nil || !found && number >= oldest.Load() {
					t.Errorf("pulling %s: got tag found %v, error %v; want the complete image, or no tag if the version is below %d", tag, found, err, oldest.Load())
					return
				}
				if pulls.Add(1); !found {
					gone.Add(1)
				}
			}
		})
	}
	wanted := int64(64)
	if os.Getenv("LAYOUTPROXY_TEST_ALL") != "" {
		wanted = 12_000
	}
	for n := 1; n <= 5 || pulls.Load() < wanted && !t.Failed(); n++ {
		importVersion(t, store, n, n%3 == 0)
		tag := fmt.Sprintf("v1.%d.0", n)
		layouttest.Eventually(t, "the new tag is served", func() bool { found, err := pullAll(client, base, tag); return found && err == nil })
		// Clients may be about to pull the previous version, so it must still be found.
		oldest.Store(int64(n - 1))
		latest.Store(int64(n))
		p, err := pruning.New(prune.Options{Store: store})
		layouttest.Try(t, err)
		_, err = p.Run(t.Context(), prune.Request{Policy: prune.Policy{KeepNewest: 2}, Grace: 15 * time.Minute})
		layouttest.Try(t, err)
		// Remove versions that no client pulls any more.
		if n%10 == 0 {
			later, err := pruning.New(prune.Options{Store: store, Now: func() time.Time { return time.Now().Add(14 * time.Minute) }})
			layouttest.Try(t, err)
			_, _, err = later.Sweep(t.Context())
			layouttest.Try(t, err)
		}
	}
	layouttest.Eventually(t, "the first version is removed", func() bool { found, _ := pullAll(client, base, "v1.0.0"); return !found })
	close(done)
	wg.Wait()
	t.Logf("%d pulls, %d of them of removed versions", pulls.Load(), gone.Load())
	if pulls.Load() < 32 {
		t.Errorf("got %d pulls, want at least 32", pulls.Load())
	}
}

// newTestPruner returns the pruner of a server with this store. policy is the text of the policy file. The
// parameter at is the time of the daily prunes (HH:MM).
func newTestPruner(t *testing.T, store, policy, at string) *pruner {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.yaml")
	layouttest.Try(t, os.WriteFile(file, []byte(policy), 0o644))
	flags := settingsOf(t, "--store", store, "--cache-dir", "", "--prune-policy", file, "--prune-at", at)
	layouttest.Try(t, flags.Check())
	p, err := newPruner(zap.NewNop(), flags, prometheus.NewRegistry(), func(context.Context) {})
	layouttest.Try(t, err)
	return p
}

// A server prunes its store each day at the set time, and removes untagged images when their grace
// period ends. While an import runs, it retries the prune for an hour. Then the prune has failed, and the
// server waits for the next day.
func TestDailyPrunes(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	for n := range 3 {
		importVersion(t, store, n, false)
	}
	synctest.Test(t, func(t *testing.T) {
		start := time.Now().Truncate(time.Minute)
		at := start.Add(210 * time.Minute)
		p := newTestPruner(t, store, "keep-newest: 1\ngrace: 30m\n", at.Format("15:04"))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.run(ctx) }()
		sleepTo := func(hour, minute int) {
			time.Sleep(time.Until(start.Add(time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute)))
			synctest.Wait()
		}
		states := func() (all []string) {
			for _, s := range p.status() {
				all = append(all, s.State)
			}
			return all
		}
		expect := func(what string, want ...string) {
			t.Helper()
			if got := states(); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: states of the prunes are %v, want %v: %+v", what, got, want, p.status())
			}
		}
		sleepTo(3, 29)
		expect("before the set time")
		sleepTo(3, 31)
		expect("after the set time", "pruned")
		if s := p.status()[0]; s.Tags != 2 || s.Blobs == 0 || s.Bytes == 0 || s.Generation != 4 {
			t.Errorf("first prune: got %+v, want 2 tags, some blobs, some bytes and generation 4", s)
		}
		sleepTo(4, 2)
		expect("after the grace period", "pruned", "removed")
		sleepTo(24+3, 31)
		expect("on the next day", "pruned", "removed", "nothing")
		locked, err := stores.Open(ctx, stores.Options{Dir: store})
		layouttest.Try(t, err)
		sleepTo(48+3, 40)
		expect("during an import", "pruned", "removed", "nothing", "waiting")
		locked.Close()
		sleepTo(48+3, 45)
		expect("after the import", "pruned", "removed", "nothing", "nothing")
		locked, err = stores.Open(ctx, stores.Options{Dir: store})
		layouttest.Try(t, err)
		sleepTo(72+4, 20)
		expect("during a long import", "pruned", "removed", "nothing", "nothing", "waiting")
		sleepTo(72+4, 40)
		expect("during an import of more than an hour", "pruned", "removed", "nothing", "nothing", "failed")
		locked.Close()
		layouttest.Try(t, os.WriteFile(p.policy, []byte("keep-newest: many\n"), 0o644))
		sleepTo(96+5, 0)
		expect("with a broken policy", "pruned", "removed", "nothing", "nothing", "failed")
		if s := p.status()[4]; !strings.Contains(s.Detail, "policy.yaml") || s.Time.Sub(at.AddDate(0, 0, 4)) != time.Hour {
			t.Errorf("failed prune: got %+v, want a Detail with policy.yaml, and a Time one hour after the set time", s)
		}
		metrics := prometheus.NewRegistry()
		layouttest.Try(t, metrics.Register(p))
		families, err := metrics.Gather()
		layouttest.Try(t, err)
		values := map[string]float64{}
		for _, f := range families {
			for _, m := range f.Metric {
				name := f.GetName()
				for _, l := range m.Label {
					name += " " + l.GetValue()
				}
				values[name] = m.Counter.GetValue()
			}
		}
		var freed float64
		for _, s := range p.status() {
			if s.State == "removed" {
				freed += float64(s.Bytes)
			}
		}
		if values["layoutproxy_prunes_total pruned"] != 1 || values["layoutproxy_prunes_total nothing"] != 2 || values["layoutproxy_prunes_total failed"] == 0 || values["layoutproxy_pruned_bytes_total"] != freed || freed == 0 {
			t.Errorf("metrics are %v, want 1 prune pruned, 2 nothing, some failed, and %.0f bytes, which were removed after the grace period", values, freed)
		}
		cancel()
		layouttest.Try(t, <-ended)
	})
}

// If the grace period of an image has ended, but the image is needed again, a server does not scan its store every
// minute.
func TestSweepDoesNotScanUnchangedStore(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	importVersion(t, store, 0, false)
	importVersion(t, store, 1, false)
	index := filepath.Join(store, "app/index.json")
	before := layouttest.ReadFile(t, index)
	by, err := prune.New(prune.Options{Store: store, Now: func() time.Time { return time.Now().Add(-2 * time.Hour) }})
	layouttest.Try(t, err)
	plan, err := by.Run(t.Context(), prune.Request{Policy: prune.Policy{KeepNewest: 1}, Grace: time.Hour})
	layouttest.Try(t, err)
	if len(plan.Remove.Images) != 1 {
		t.Fatalf("the prune removes %+v, want app:v1.0.0", plan.Remove.Images)
	}
	layouttest.WriteFile(t, index, before) // the image has its tag again
	p := newTestPruner(t, store, "keep-newest: 1\n", "03:30")
	if wait := p.sweep(t.Context()); wait > sweepEvery {
		t.Errorf("the first sweep returns %s, want at most %s", wait, sweepEvery)
	}
	if wait := p.sweep(t.Context()); wait <= sweepEvery {
		t.Errorf("a sweep of the unchanged store returns %s, want more than %s", wait, sweepEvery)
	}
	importVersion(t, store, 2, false)
	if wait := p.sweep(t.Context()); wait > sweepEvery {
		t.Errorf("a sweep of the changed store returns %s, want at most %s", wait, sweepEvery)
	}
	if all := p.status(); len(all) > 0 {
		t.Errorf("the sweeps report %+v, want nothing removed and no failure", all)
	}
}
