package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/drop"
)

// dropFlags are the flags of serve that concern a directory into which bundles are dropped.
type dropFlags struct {
	dir   string
	after string
}

func (d *dropFlags) flags(f *pflag.FlagSet) {
	f.StringVar(&d.dir, "drop-dir", "", "`directory` whose bundles are imported into the store when they are whole")
	f.StringVar(&d.after, "after-import", "keep", "`keep|remove` a bundle of the drop directory that was imported; kept ones go to done/ in it")
}

// check finds what is wrong with the flags; store is the directory of the store.
func (d *dropFlags) check(store string) error {
	if d.after != "keep" && d.after != "remove" {
		return exit.UsageError(fmt.Errorf("--after-import %s: keep or remove", d.after))
	}
	if d.dir == "" {
		return nil
	}
	if store == "" {
		return exit.UsageError(exit.WithHint(errors.New("--drop-dir without --store"), "name the directory that the bundles are imported into: --store /srv/store"))
	}
	return nil
}

// dropping is a server's drop directory.
type dropping struct{ *drop.Drop }

// newDropping makes the drop directory of a server, or none where no flag asks for one.
// Before it changes anything in the directory it asks guard.
func newDropping(log *zap.Logger, flags *serveFlags, guard func() error, published func(context.Context)) (*dropping, error) {
	if flags.store.drop.dir == "" {
		return nil, nil
	}
	imports := importer.Options{Store: flags.store.dir, CacheDir: flags.cacheDir, Log: log.Named("import")}
	d, err := drop.New(imports, drop.Options{Dir: flags.store.drop.dir, Settle: flags.settle, Tick: flags.rescan,
		Remove: flags.store.drop.after == "remove", Guard: guard, Published: published})
	if err != nil {
		return nil, exit.WithHint(err, "make the directory, and let this user write to it")
	}
	return &dropping{d}, nil
}

// run imports until ctx ends. Without a drop directory there is nothing to do.
func (d *dropping) run(ctx context.Context) error {
	if d == nil {
		return nil
	}
	return d.Run(ctx)
}

// status is what /status says of imports.
func (d *dropping) status() []drop.Status {
	if d == nil {
		return []drop.Status{}
	}
	return d.Status()
}

var (
	droppedDesc     = prometheus.NewDesc("layoutproxy_dropped_bundles", "Bundles in the drop directory, by state.", []string{"state"}, nil)
	importsDesc     = prometheus.NewDesc("layoutproxy_imports_total", "Bundles of the drop directory that were imported or refused, by result.", []string{"result"}, nil)
	importBytesDesc = prometheus.NewDesc("layoutproxy_import_bytes_total", "Bytes of dropped bundles whose digests were computed.", nil, nil)
)

// Describe implements prometheus.Collector.
func (d *dropping) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(d, ch) }

// Collect implements prometheus.Collector.
func (d *dropping) Collect(ch chan<- prometheus.Metric) {
	states := map[string]int{"waiting": 0, "verifying": 0}
	for _, s := range d.Status() {
		if _, ok := states[s.State]; ok {
			states[s.State]++
		}
	}
	for state, n := range states {
		ch <- prometheus.MustNewConstMetric(droppedDesc, prometheus.GaugeValue, float64(n), state)
	}
	totals := d.Totals()
	ch <- prometheus.MustNewConstMetric(importsDesc, prometheus.CounterValue, float64(totals.Published), "published")
	ch <- prometheus.MustNewConstMetric(importsDesc, prometheus.CounterValue, float64(totals.Failed), "failed")
	ch <- prometheus.MustNewConstMetric(importBytesDesc, prometheus.CounterValue, float64(totals.Bytes))
}
