package settings

import (
	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/registry/trace"
)

// Trace says whether requests are traced, and to where.
type Trace struct{ Endpoint string }

// AddFlags adds the flags to a set.
func (f *Trace) AddFlags(set *pflag.FlagSet) {
	set.StringVar(&f.Endpoint, "trace-endpoint", "", "`URL` of an OpenTelemetry collector (OTLP over HTTP) that gets one span per request; env reads the URL from OTEL_EXPORTER_OTLP_ENDPOINT, empty means off")
}

func (f *Trace) check() error {
	if f.Endpoint == "" {
		return nil
	}
	if err := trace.CheckEndpoint(f.Endpoint); err != nil {
		return exit.UsageError(exit.WithHint(err, "name the collector, as --trace-endpoint http://127.0.0.1:4318"))
	}
	return nil
}
