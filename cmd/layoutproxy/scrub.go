package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/importer/verify"
)

// parseRate reads a rate as 10MB/s, in bytes a second; the empty one is 0.
func parseRate(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := humanize.ParseBytes(strings.TrimSuffix(text, "/s"))
	if err != nil || n == 0 || n > math.MaxInt64 {
		return 0, usageError{fmt.Errorf("--scrub %s: not a rate, which is written as 10MB/s or 512KiB/s", text)}
	}
	return int64(n), nil
}

// newScrub makes the scrub of the server's tree, or nil where none is wanted.
func (s *server) newScrub(flags *serveFlags, metrics *prometheus.Registry) (*verify.Scrub, error) {
	rate, err := parseRate(flags.scrub)
	if err != nil || rate == 0 {
		return nil, err
	}
	scrub, err := verify.NewScrub(verify.ScrubOptions{Rate: rate, Snapshot: s.live.tree.Snapshot,
		Wrong: s.live.tellProblem,
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

// scrubMetrics say how far a scrub is.
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
	counter("wrong_blobs_total", "Copies of blobs that the scrub found wrong and had refused.", func(s verify.ScrubStats) int64 { return s.Wrong })
	counter("unreadable_blobs_total", "Times that the scrub could not read a blob.", func(s verify.ScrubStats) int64 { return s.Failed })
	counter("passes_total", "Passes over the whole tree that the scrub has ended.", func(s verify.ScrubStats) int64 { return s.Passes })
	gauge("pass_bytes", "Bytes read in the pass under way.", func(s verify.ScrubStats) int64 { return s.PassBytes })
	gauge("pass_size_bytes", "Bytes that the pass under way has to read.", func(s verify.ScrubStats) int64 { return s.PassTotal })
	return all
}
