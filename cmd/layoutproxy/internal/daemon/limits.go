package daemon

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/registry/limit"
)

// limitRequests limits the rate of requests, if the flags ask for it.
func limitRequests(c *settings.Clients, next http.Handler) (http.Handler, error) {
	if c.Rate == 0 {
		return next, nil
	}
	return limit.Requests(next, c.Rate, c.Burst)
}

// forwarded finds out who the client is.
func forwarded(c *settings.Clients, next http.Handler) (http.Handler, error) {
	trusted, err := c.Trusted()
	return limit.Forwarded(next, trusted), err
}

// limitConnections limits the connections of a server, if the flags ask for it, and
// counts the refused ones.
func limitConnections(c *settings.Clients, s *http.Server, metrics prometheus.Registerer) error {
	if c.Connections == 0 {
		return nil
	}
	trusted, err := c.Trusted()
	if err != nil {
		return err
	}
	connections := limit.NewConnections(c.Connections, trusted)
	s.ConnState = connections.State
	return metrics.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "layoutproxy_connections_refused_total",
		Help: "Connections closed because their client had --client-connections open.",
	}, func() float64 { return float64(connections.Refused()) }))
}
