package daemon

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/overlap"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/drop"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
)

// prepareStore creates the store if it is missing, and completes the publication of a killed process. If the
// store exists, but this user may not write to it, prepareStore logs a warning and returns no error.
func prepareStore(ctx context.Context, log *zap.Logger, dir string) error {
	if dir == "" || bucket.IsPlace(dir) { // Servers only read a store in a bucket.
		return nil
	}
	i, err := importer.New(importer.Options{Store: dir, Log: log})
	if err != nil {
		return err
	}
	err = i.Recover(ctx)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		if _, missing := os.Stat(dir); missing == nil {
			log.Warn("layoutproxy may not write to the store: it serves the store unchanged", zap.String("store", dir), zap.Error(err))
			return nil
		}
	}
	if err != nil && ctx.Err() == nil {
		return exit.WithHint(err, "the store must be a directory that this user can write to")
	}
	return nil
}

// newDropDirectory returns the importer of a server's drop directory, or nil without --drop-dir. The
// importer calls guard before each import, and again before it moves or removes files of the bundle.
func newDropDirectory(log *zap.Logger, flags *settings.Serve, metrics prometheus.Registerer, guard func() error, published func(context.Context)) (*drop.Drop, error) {
	if flags.Store.DropDir == "" {
		return nil, nil
	}
	imports := importer.Options{Store: flags.Store.Dir, CacheDir: flags.CacheDir, VerifyKey: flags.VerifyKey, Log: log.Named("import")}
	d, err := drop.New(imports, drop.Options{Dir: flags.Store.DropDir, Settle: flags.Settle, Tick: flags.Rescan,
		Remove: flags.Store.AfterImport == "remove", Guard: guard, Published: published})
	if err != nil {
		return nil, exit.WithHint(err, "create the directory, and give this user write access")
	}
	return d, metrics.Register(dropMetrics{d})
}

func (s *Daemon) imports() []drop.Status {
	if s.drop == nil {
		return []drop.Status{}
	}
	return s.drop.Status()
}

type dropMetrics struct{ drop *drop.Drop }

var (
	droppedDesc     = prometheus.NewDesc("layoutproxy_dropped_bundles", "Bundles in the drop directory, by state.", []string{"state"}, nil)
	importsDesc     = prometheus.NewDesc("layoutproxy_imports_total", "Bundles of the drop directory that were imported or refused, by result.", []string{"result"}, nil)
	importBytesDesc = prometheus.NewDesc("layoutproxy_import_bytes_total", "Bytes of dropped bundles that were read to compute digests.", nil, nil)
)

func (d dropMetrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(d, ch) }

func (d dropMetrics) Collect(ch chan<- prometheus.Metric) {
	states := map[string]int{"waiting": 0, "verifying": 0}
	for _, s := range d.drop.Status() {
		if _, ok := states[s.State]; ok {
			states[s.State]++
		}
	}
	for state, n := range states {
		ch <- prometheus.MustNewConstMetric(droppedDesc, prometheus.GaugeValue, float64(n), state)
	}
	totals := d.drop.Totals()
	ch <- prometheus.MustNewConstMetric(importsDesc, prometheus.CounterValue, float64(totals.Published), "published")
	ch <- prometheus.MustNewConstMetric(importsDesc, prometheus.CounterValue, float64(totals.Failed), "failed")
	ch <- prometheus.MustNewConstMetric(importBytesDesc, prometheus.CounterValue, float64(totals.Bytes))
}

// guardDrop returns an error if a link or a mount has changed since the start, so that the drop
// directory now overlaps with a source or the store. Then no dropped bundle may be imported, moved
// or removed.
func (s *Daemon) guardDrop() error {
	sources := s.live.paths()
	return overlap.Guard(s.flags.Places(sources[:len(sources)-1])...) // The last source is the store itself.
}
