package trace

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	service "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

func spans() []*otlp.ResourceSpans {
	return []*otlp.ResourceSpans{{ScopeSpans: []*otlp.ScopeSpans{{Spans: []*otlp.Span{{Name: "GET blob"}}}}}}
}

// answering returns the URL of a collector that sends the given answers in order. asked contains
// the requests that it received.
func answering(t *testing.T, answers ...func(http.ResponseWriter)) (url string, asked *[]*http.Request) {
	t.Helper()
	asked = &[]*http.Request{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		var sent service.ExportTraceServiceRequest
		if err != nil || proto.Unmarshal(body, &sent) != nil || len(sent.ResourceSpans) != 1 || sent.ResourceSpans[0].ScopeSpans[0].Spans[0].Name != "GET blob" {
			t.Errorf("got the request %q (error %v), want one with the spans of the test", body, err)
		}
		*asked = append(*asked, req)
		answers[min(len(*asked), len(answers))-1](w)
	}))
	t.Cleanup(s.Close)
	return s.URL, asked
}

func code(status int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { w.WriteHeader(status) }
}

func protobufOf(t *testing.T, status int, m proto.Message) func(http.ResponseWriter) {
	t.Helper()
	body, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", protobuf)
		w.WriteHeader(status)
		w.Write(body)
	}
}

// The OTLP specification 1.x ("OTLP/HTTP Response") defines which answers are retried, and the
// types of messages.
func TestCollectorAnswers(t *testing.T) {
	partial := &service.ExportTraceServiceResponse{PartialSuccess: &service.ExportTracePartialSuccess{RejectedSpans: 3, ErrorMessage: "too\nold"}}
	for name, test := range map[string]struct {
		answers []func(http.ResponseWriter)
		asked   int
		err     string // a part of the expected error; empty if no error is expected
	}{
		"taken":                         {[]func(http.ResponseWriter){code(200)}, 1, ""},
		"accepted with a response body": {[]func(http.ResponseWriter){protobufOf(t, 200, &service.ExportTraceServiceResponse{})}, 1, ""},
		"busy, then accepted":           {[]func(http.ResponseWriter){code(429), code(502), code(503), code(504), code(200)}, 5, ""},
		"busy, then refused":            {[]func(http.ResponseWriter){code(503), code(400)}, 2, "400 Bad Request"},
		"some spans are rejected":       {[]func(http.ResponseWriter){protobufOf(t, 200, partial)}, 1, "rejected 3 spans: too old"},
		"refused with a status":         {[]func(http.ResponseWriter){protobufOf(t, 401, &status.Status{Code: 16, Message: "no such key"})}, 1, "401 Unauthorized: no such key"},
		"500 is not retried":            {[]func(http.ResponseWriter){code(500)}, 1, "500"},
		"text": {[]func(http.ResponseWriter){func(w http.ResponseWriter) {
			http.Error(w, strings.Repeat("long ", 1000), http.StatusForbidden)
		}}, 1, "403 Forbidden: long long"},
		"malformed protobuf": {[]func(http.ResponseWriter){func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", protobuf)
			w.Write([]byte("\x0a\xff\xff"))
		}}, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			url, asked := answering(t, test.answers...)
			c := newCollector(settings{url: url, headers: http.Header{}, timeout: time.Minute})
			c.pause = time.Nanosecond
			err := c.UploadTraces(t.Context(), spans())
			if (err == nil) != (test.err == "") || err != nil && (!strings.Contains(err.Error(), test.err) || len(err.Error()) > 400) {
				t.Errorf("UploadTraces returned %v, want %q", err, test.err)
			}
			if len(*asked) != test.asked {
				t.Errorf("the collector got %d requests, want %d", len(*asked), test.asked)
			}
		})
	}
}

type afterAnswer struct {
	http.RoundTripper
	done func()
}

func (a afterAnswer) RoundTrip(req *http.Request) (*http.Response, error) {
	defer a.done()
	return a.RoundTripper.RoundTrip(req)
}

// If a busy collector sends Retry-After, the client waits. If the context ends during this wait,
// UploadTraces returns the error of the last answer.
func TestBusyCollector(t *testing.T) {
	url, asked := answering(t, func(w http.ResponseWriter) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	c := newCollector(settings{url: url, headers: http.Header{}, timeout: time.Minute})
	c.pause = time.Nanosecond
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.http.Transport = afterAnswer{c.http.Transport, func() { time.AfterFunc(50*time.Millisecond, cancel) }} // without Retry-After, these 50 ms would be long enough for a retry
	if err := c.UploadTraces(ctx, spans()); err == nil || !strings.Contains(err.Error(), "503") || len(*asked) != 1 {
		t.Errorf("UploadTraces returned %v after %d requests, want the error of the 503 answer after one request", err, len(*asked))
	}
}

// A header from the environment may contain a credential, so redirects are not followed, and the
// header is sent only to the collector.
func TestRedirectsAreNotFollowed(t *testing.T) {
	other, asked := answering(t, code(200))
	url, _ := answering(t, func(w http.ResponseWriter) {
		w.Header().Set("Location", other)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	c := newCollector(settings{url: url, headers: http.Header{"Api-Key": {"secret"}}, timeout: time.Minute})
	if err := c.UploadTraces(t.Context(), spans()); err == nil || !strings.Contains(err.Error(), "307") || len(*asked) > 0 {
		t.Errorf("UploadTraces returned %v, and the other host got %d requests; want the error of the 307 answer and 0 requests", err, len(*asked))
	}
}

func TestSettingsFromEnvironment(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=all,unused=1")
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "api-key=a%20b, other = c=d")
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "250")
	t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
	for endpoint, test := range map[string]struct{ all, traces, want string }{
		"http://c:4318":       {"", "", "http://c:4318/v1/traces"},
		"http://c:4318/":      {"", "", "http://c:4318/v1/traces"},
		"https://c/otlp/in/":  {"", "", "https://c/otlp/in/"},
		Environment:           {"http://c:4318/base/", "", "http://c:4318/base/v1/traces"},
		Environment + " ":     {"http://c:4318/base", "https://d/as/it/is", "https://d/as/it/is"},
		Environment + "  ":    {"http://c:4318", "http://d", "http://d/"},
		"http://c:4318?q=1#f": {"", "", "http://c:4318/v1/traces"},
	} {
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", test.all)
		t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", test.traces)
		s, err := newSettings(strings.TrimSpace(endpoint))
		if err != nil {
			t.Fatal(err)
		}
		want := settings{url: test.want, headers: http.Header{"Api-Key": {"a b"}, "Other": {"c=d"}}, gzip: true, timeout: 250 * time.Millisecond}
		if diff := cmp.Diff(want, s, cmp.AllowUnexported(settings{})); diff != "" {
			t.Errorf("for the endpoint %q, the settings are wrong (-want +got):\n%s", endpoint, diff)
		}
	}
}

// If a variable is malformed, the error contains its name but no secret. A variable with the path
// of a named pipe does not make newSettings block.
func TestMalformedEnvironment(t *testing.T) {
	dir := t.TempDir()
	empty, pipe := filepath.Join(dir, "empty"), filepath.Join(dir, "pipe")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	layouttest.Try(t, layouttest.MakePipe(pipe))
	for _, test := range []struct{ name, value string }{
		{"TIMEOUT", "10s"}, {"TIMEOUT", "-1"}, {"COMPRESSION", "zstd"},
		{"HEADERS", "secret"}, {"HEADERS", "a=%zzsecret"}, {"HEADERS", "a b=secret"}, {"HEADERS", "a=secret%0d%0ab: c"}, {"HEADERS", "=secret"},
		{"CERTIFICATE", empty}, {"CERTIFICATE", empty + "x"}, {"CLIENT_CERTIFICATE", empty}, {"CLIENT_KEY", empty},
		{"CERTIFICATE", pipe}, {"CLIENT_CERTIFICATE", pipe},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_"+test.name, test.value)
			_, err := newSettings("https://collector.example")
			if err == nil || !strings.Contains(err.Error(), test.name) || strings.Contains(err.Error(), "secret") {
				t.Errorf("for the value %q, the error is %v, want one with the variable's name and without the secret", test.value, err)
			}
		})
	}
}

func TestCertificatesFromEnvironment(t *testing.T) {
	dir := t.TempDir()
	pair := selfSigned(t, dir)
	var shown int
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		shown = len(req.TLS.PeerCertificates)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert}
	s.StartTLS()
	defer s.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", filepath.Join(dir, "cert"))
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", filepath.Join(dir, "cert"))
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", filepath.Join(dir, "key"))
	set, err := newSettings(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := newCollector(set)
	defer c.http.CloseIdleConnections()
	if err := c.UploadTraces(t.Context(), spans()); err != nil || shown != 1 {
		t.Errorf("UploadTraces returned the error %v after the client had sent %d certificates, want no error and one certificate", err, shown)
	}
	if _, err := newSettings("http://collector.example"); err == nil {
		t.Error("newSettings for an http endpoint returned no error, want one, because certificates are set")
	}
}

func selfSigned(t *testing.T, dir string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: der}, "key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert"), filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}
