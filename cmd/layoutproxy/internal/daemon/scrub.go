package daemon

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/importer/verify"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/durable"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/registry/page"
)

// newScrub returns the scrub of the server's tree, or nil without --scrub.
func (s *Daemon) newScrub(metrics *prometheus.Registry) (*verify.Scrub, error) {
	rate, err := settings.ParseRate(s.flags.Scrub)
	if err != nil || rate == 0 {
		return nil, err
	}
	state := scrubState(s.flags.CacheDir, s.live.paths())
	before := state.read(s.log)
	scrub, err := verify.NewScrub(verify.ScrubOptions{Rate: rate, Snapshot: s.live.tree.Snapshot,
		From: before.Position, Ended: before.Ended,
		Reached: func(at verify.Position, ended time.Time) { state.write(s.log, scrubRecord{at, ended}) },
		Wrong:   s.live.logProblem,
		Failed: func(file, entry string, d digest.Digest, err error) {
			s.log.Warn("the scrub cannot read a blob", zap.String("path", file), zap.String("entry", entry), zap.String("digest", string(d)), zap.Error(err))
		}})
	if err != nil {
		return nil, err
	}
	for _, c := range scrubMetrics(scrub) {
		if err := metrics.Register(c); err != nil {
			return nil, err
		}
	}
	return scrub, nil
}

// scrubFile is the path of the file that stores the position of a scrub. If the file is lost, the
// scrub starts over, which only costs time. With an empty path, the position is not stored.
type scrubFile string

// scrubState returns the path of the scrub file for a list of sources.
func scrubState(cacheDir string, sources []string) scrubFile {
	if cacheDir == "" {
		return ""
	}
	sum := sha256.New()
	for _, source := range sources {
		if abs, err := filepath.Abs(source); err == nil && !bucket.IsPlace(source) {
			source = abs
		}
		fmt.Fprintf(sum, "%q\n", source)
	}
	return scrubFile(filepath.Join(cacheDir, fmt.Sprintf("%x.scrub", sum.Sum(nil)[:16])))
}

// maxScrubRecord is the size of the largest scrub file that is read, in bytes. The file contains
// only a position in the tree and a time.
const maxScrubRecord = 64 << 10

type scrubRecord struct {
	verify.Position
	Ended time.Time `json:"ended,omitzero"` // when the last complete pass ended
}

func (f scrubFile) read(log *zap.Logger) (at scrubRecord) {
	if f == "" {
		return at
	}
	data, err := plainfile.Read(string(f), maxScrubRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return at
	}
	if err == nil {
		err = json.Unmarshal(data, &at)
	}
	if err != nil {
		log.Warn("the scrub starts over, because its last position cannot be read", zap.String("path", string(f)), zap.Error(err))
		return scrubRecord{}
	}
	return at
}

func (f scrubFile) write(log *zap.Logger, at scrubRecord) {
	if f == "" {
		return
	}
	data, err := json.Marshal(at)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(string(f)), 0o755)
	}
	if err == nil {
		err = durable.WriteFile(string(f), append(data, '\n'), 0o644)
	}
	if err != nil {
		log.Debug("the position of the scrub cannot be stored: the scrub will start over after a restart", zap.String("path", string(f)), zap.Error(err))
	}
}

func scrubMetrics(scrub *verify.Scrub) (all []prometheus.Collector) {
	counter := func(name, help string, of func(verify.ScrubStats) int64) {
		all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "layoutproxy_scrub_" + name, Help: help},
			func() float64 { return float64(of(scrub.Stats())) }))
	}
	gauge := func(name, help string, of func(verify.ScrubStats) int64) {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "layoutproxy_scrub_" + name, Help: help},
			func() float64 { return float64(of(scrub.Stats())) }))
	}
	counter("bytes_total", "Bytes that the scrub has read.", func(s verify.ScrubStats) int64 { return s.Bytes })
	counter("blobs_total", "Copies of blobs that the scrub has read.", func(s verify.ScrubStats) int64 { return s.Files })
	counter("wrong_blobs_total", "Copies of blobs that the scrub found damaged, and that are refused.", func(s verify.ScrubStats) int64 { return s.Wrong })
	counter("unreadable_blobs_total", "Times that the scrub could not read a blob.", func(s verify.ScrubStats) int64 { return s.Failed })
	counter("passes_total", "Passes over the whole tree that the scrub has completed.", func(s verify.ScrubStats) int64 { return s.Passes })
	gauge("pass_bytes", "Bytes read in the current pass.", func(s verify.ScrubStats) int64 { return s.PassBytes })
	gauge("pass_size_bytes", "Total number of bytes in the current pass, read or not.", func(s verify.ScrubStats) int64 { return s.PassTotal })
	return all
}

// statusOfScrub returns the status of a scrub for /status, or nil if there is no scrub.
func statusOfScrub(scrub *verify.Scrub) *page.Scrub {
	if scrub == nil {
		return nil
	}
	stats := scrub.Stats()
	s := &page.Scrub{Rate: scrub.Rate, Bytes: stats.PassBytes, Total: stats.PassTotal, Passes: stats.Passes, Damaged: stats.Wrong, Unreadable: stats.Failed}
	if !stats.Ended.IsZero() {
		ended := stats.Ended.UTC().Truncate(time.Second)
		s.Ended = &ended
	}
	return s
}
