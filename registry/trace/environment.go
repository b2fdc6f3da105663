package trace

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// settings describes how to contact the collector.
type settings struct {
	url     string
	headers http.Header
	gzip    bool
	timeout time.Duration
	tls     *tls.Config
}

// tracesPath is appended to a URL that is meant for all signals.
const tracesPath = "/v1/traces"

// defaultTimeout is the timeout that the specification sets by default.
const defaultTimeout = 10 * time.Second

// variable returns the value of a standard environment variable (OpenTelemetry's specification,
// "OpenTelemetry Protocol Exporter"). It prefers the variable for traces to the one for all
// signals. An empty variable counts as unset.
func variable(name string) string {
	return strings.TrimSpace(cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_"+name), os.Getenv("OTEL_EXPORTER_OTLP_"+name)))
}

// newSettings reads all settings but the endpoint from the environment.
func newSettings(endpoint string) (settings, error) {
	s := settings{timeout: defaultTimeout}
	u, err := address(endpoint)
	if err != nil {
		return s, err
	}
	s.url = u.String()
	switch compression := variable("COMPRESSION"); compression {
	case "gzip":
		s.gzip = true
	case "", "none":
	default:
		return s, fmt.Errorf("OTEL_EXPORTER_OTLP_COMPRESSION %q: must be gzip or none", compression)
	}
	if text := variable("TIMEOUT"); text != "" {
		milliseconds, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return s, fmt.Errorf("OTEL_EXPORTER_OTLP_TIMEOUT %q: not a number of milliseconds", text)
		}
		s.timeout = time.Duration(milliseconds) * time.Millisecond
	}
	if s.headers, err = headers(variable("HEADERS")); err != nil {
		return s, err
	}
	if s.tls, err = tlsConfig(); err != nil {
		return s, err
	}
	if s.tls != nil && u.Scheme == "http" {
		return s, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE or …_CLIENT_CERTIFICATE is set, but the endpoint %s has no TLS", s.url)
	}
	return s, nil
}

// address returns the URL that spans are posted to. It appends [tracesPath] to the endpoint in
// OTEL_EXPORTER_OTLP_ENDPOINT, which is for all signals. It also appends [tracesPath] to an
// endpoint that was given without a path.
func address(endpoint string) (*url.URL, error) {
	given, appended := endpoint, ""
	if endpoint == Environment {
		if endpoint = strings.TrimSpace(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")); endpoint == "" {
			endpoint, appended = variable("ENDPOINT"), tracesPath
		}
		if endpoint == "" {
			return nil, errors.New("endpoint env: neither OTEL_EXPORTER_OTLP_TRACES_ENDPOINT nor OTEL_EXPORTER_OTLP_ENDPOINT is set")
		}
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("endpoint %q: not of the form http://HOST:PORT or https://HOST:PORT", endpoint)
	}
	if given != Environment && strings.Trim(u.Path, "/") == "" {
		appended = tracesPath
	}
	to := &url.URL{Scheme: u.Scheme, Host: u.Host, Path: cmp.Or(u.Path, "/")}
	if appended != "" {
		to.Path = path.Join(u.Path, appended)
	}
	return to, nil
}

// headers parses pairs NAME=VALUE that are separated by commas. The values are percent-encoded. No
// error contains a value, because it may be a credential.
func headers(text string) (http.Header, error) {
	all := http.Header{}
	if text == "" {
		return all, nil
	}
	for pair := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || err != nil || name == "" || strings.ContainsAny(name, " \t\r\n:") || strings.ContainsAny(value, "\r\n") {
			return nil, errors.New("OTEL_EXPORTER_OTLP_HEADERS: not of the form NAME=VALUE,NAME=VALUE with percent-encoded values")
		}
		all.Set(name, value)
	}
	return all, nil
}

// maxPEM is the largest file of certificates that is read, in bytes.
const maxPEM = 16 << 20

// tlsConfig reads the certificates whose paths are in environment variables; if none, it returns
// nil.
func tlsConfig() (*tls.Config, error) {
	authorities, cert, key := variable("CERTIFICATE"), variable("CLIENT_CERTIFICATE"), variable("CLIENT_KEY")
	if authorities == "" && cert == "" && key == "" {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if authorities != "" {
		pem, err := plainfile.Read(authorities, maxPEM)
		if err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE %s: no PEM certificate in it", authorities)
		}
	}
	if cert != "" || key != "" {
		pair, err := plainfile.ReadKeyPair(cert, key, maxPEM)
		if err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and …_CLIENT_KEY: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
