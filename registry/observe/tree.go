package observe

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// Tree collects the metrics of a tree whenever they are scraped.
type Tree struct {
	Snapshot func() *layoutstore.Snapshot
	Problems func() []layoutstore.Problem
	Refused  func() int64 // returns the number of requests for content that is listed but could not be served
}

var (
	repositoriesDesc = prometheus.NewDesc("layoutproxy_repositories", "Repositories served.", nil, nil)
	tagsDesc         = prometheus.NewDesc("layoutproxy_tags", "Tags served, over all repositories.", nil, nil)
	problemsDesc     = prometheus.NewDesc("layoutproxy_problems", "Problems in the sources, by kind.", []string{"kind"}, nil)
	generationDesc   = prometheus.NewDesc("layoutproxy_generation", "Changes of the tree since the start; the first scan is 1.", nil, nil)
	sinceDesc        = prometheus.NewDesc("layoutproxy_generation_timestamp_seconds", "When the current generation of the tree was created, in seconds since 1970; its age is time() minus this.", nil, nil)
	refusedDesc      = prometheus.NewDesc("layoutproxy_refused_requests_total", "Requests for content that is listed in the tree, but missing or damaged.", nil, nil)
)

// Describe implements prometheus.Collector.
func (t Tree) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(t, ch) }

// Collect implements prometheus.Collector.
func (t Tree) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := t.Snapshot()
	gauge(repositoriesDesc, float64(s.RepositoryCount()))
	gauge(tagsDesc, float64(s.TagCount()))
	gauge(generationDesc, float64(s.Generation()))
	gauge(sinceDesc, float64(s.Since().UnixMilli())/1000)
	ch <- prometheus.MustNewConstMetric(refusedDesc, prometheus.CounterValue, float64(t.Refused()))
	byKind := map[layoutstore.Kind]int{
		layoutstore.Damaged: 0, layoutstore.Incomplete: 0, layoutstore.Conflict: 0, layoutstore.IllegalName: 0, layoutstore.Limited: 0,
	}
	for _, p := range t.Problems() {
		byKind[p.Kind]++
	}
	for kind, n := range byKind {
		gauge(problemsDesc, float64(n), string(kind))
	}
}
