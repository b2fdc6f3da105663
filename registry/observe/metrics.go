package observe

import (
	"errors"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics contains the metrics of requests. Few combinations of labels are possible, because
// there are few routes, methods and codes.
type metrics struct {
	inFlight prometheus.Gauge
	requests *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	duration *prometheus.HistogramVec

	// cached makes it unnecessary to look up counters by their labels. The map is never changed: to
	// add a series, add replaces the map by a larger copy.
	cached atomic.Pointer[map[series]counters]
	adding sync.Mutex
}

// series is one combination of labels.
type series struct {
	route, method string
	code          int
}

type counters struct {
	requests, bytes prometheus.Counter
	duration        prometheus.Observer
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "layoutproxy_http_requests_in_flight",
			Help: "Requests in progress.",
		}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "layoutproxy_http_requests_total",
			Help: "Requests answered, by route, method and status code.",
		}, []string{"route", "method", "code"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "layoutproxy_http_response_bytes_total",
			Help: "Bytes of response bodies sent, by route.",
		}, []string{"route"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "layoutproxy_http_request_duration_seconds",
			Help:    "Time from the request's header to the end of its answer, by route.",
			Buckets: []float64{.0001, .001, .01, .1, 1, 10, 60, 600},
		}, []string{"route"}),
	}
	m.cached.Store(&map[series]counters{})
	return m, errors.Join(r.Register(m.inFlight), r.Register(m.requests), r.Register(m.bytes), r.Register(m.duration))
}

func (m *metrics) observe(s series, bytes int64, took time.Duration) {
	c, ok := (*m.cached.Load())[s]
	if !ok {
		c = m.add(s)
	}
	c.requests.Inc()
	c.bytes.Add(float64(bytes))
	c.duration.Observe(took.Seconds())
}

func (m *metrics) add(s series) counters {
	m.adding.Lock()
	defer m.adding.Unlock()
	all := maps.Clone(*m.cached.Load())
	all[s] = counters{
		requests: m.requests.WithLabelValues(s.route, s.method, strconv.Itoa(s.code)),
		bytes:    m.bytes.WithLabelValues(s.route),
		duration: m.duration.WithLabelValues(s.route),
	}
	m.cached.Store(&all)
	return all[s]
}
