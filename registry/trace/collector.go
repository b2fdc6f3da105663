package trace

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// collector sends spans to a collector by OTLP over HTTP, as protobuf. It is the transport of
// OpenTelemetry's exporter: the transport that comes with it links gRPC, which OTLP over HTTP
// has no use for. It implements otlptrace.Client.
type collector struct {
	settings
	http  *http.Client
	pause time.Duration // before the first retry
}

const (
	firstPause = 5 * time.Second
	lastPause  = 30 * time.Second
	retryFor   = time.Minute // where the exporter sets no shorter limit

	maxAnswer  = 64 << 10
	maxMessage = 200 // of an answer that is reported
)

const protobuf = "application/x-protobuf"

func newCollector(s settings) *collector {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = s.tls
	return &collector{settings: s, pause: firstPause, http: &http.Client{
		Transport: transport, Timeout: s.timeout,
		// The headers may hold a credential, which is meant for one host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Start implements the client.
func (c *collector) Start(context.Context) error { return nil }

// Stop implements the client.
func (c *collector) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// UploadTraces sends spans, and again for as long as the collector says that it is busy.
func (c *collector) UploadTraces(ctx context.Context, spans []*otlp.ResourceSpans) error {
	// The request of the collector's service (ExportTraceServiceRequest) is these bytes
	// too: its one field has the number and type of the one of TracesData.
	body, err := proto.Marshal(&otlp.TracesData{ResourceSpans: spans})
	if err != nil {
		return err
	}
	if c.gzip {
		if body, err = compressed(body); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, retryFor)
	defer cancel()
	for pause := c.pause; ; pause = min(2*pause, lastPause) {
		after, again, err := c.post(ctx, body)
		if !again {
			return err
		}
		select {
		case <-time.After(max(after, pause/2+rand.N(pause/2+1))):
		case <-ctx.Done():
			return err
		}
	}
}

func compressed(body []byte) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(body)
	if closeErr := z.Close(); err == nil {
		err = closeErr
	}
	return b.Bytes(), err
}

// post sends a request once. Where it may be sent again, after is how long the collector
// wants to be left alone.
func (c *collector) post(ctx context.Context, body []byte) (after time.Duration, again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return 0, false, err
	}
	req.Header = c.headers.Clone()
	req.Header.Set("Content-Type", protobuf)
	if c.gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var network net.Error
		return 0, ctx.Err() == nil && errors.As(err, &network) && network.Timeout(), err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, false, err
	}
	isProtobuf := resp.Header.Get("Content-Type") == protobuf
	if resp.StatusCode/100 == 2 {
		return 0, false, partialSuccess(answer, isProtobuf)
	}
	err = fmt.Errorf("%s answers %s%s", c.url, resp.Status, message(answer, isProtobuf))
	switch resp.StatusCode {
	// What the specification of OTLP says may be sent again ("Retryable Response Codes").
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return retryAfter(resp.Header), true, err
	}
	return 0, false, err
}

// retryAfter is how long to wait, in either form of the header (RFC 9110, 10.2.3).
func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return time.Until(at)
	}
	return 0
}

// partialSuccess is the error for an answer that says that some spans were not taken: field 1
// of ExportTraceServiceResponse, in which 1 is their number and 2 says why.
func partialSuccess(answer []byte, isProtobuf bool) error {
	if !isProtobuf {
		return nil
	}
	_, partial := field(answer, 1)
	rejected, _ := field(partial, 1)
	_, why := field(partial, 2)
	if rejected == 0 && len(why) == 0 {
		return nil
	}
	return fmt.Errorf("the collector rejected %d spans: %s", rejected, printable(why))
}

// message is what an answer says went wrong: field 2 of google.rpc.Status, or text.
func message(answer []byte, isProtobuf bool) string {
	if isProtobuf {
		_, answer = field(answer, 2)
	}
	if text := printable(answer); text != "" {
		return ": " + text
	}
	return ""
}

// field finds a field of a message: its value where that is a number, and its bytes where it
// has bytes. A message that is malformed has none.
func field(message []byte, number protowire.Number) (value uint64, content []byte) {
	for len(message) > 0 {
		n, kind, length := protowire.ConsumeTag(message)
		if length < 0 {
			return value, content
		}
		message = message[length:]
		if n == number && kind == protowire.VarintType {
			value, length = protowire.ConsumeVarint(message)
		} else if n == number && kind == protowire.BytesType {
			content, length = protowire.ConsumeBytes(message)
		} else {
			length = protowire.ConsumeFieldValue(n, kind, message)
		}
		if length < 0 {
			return value, content
		}
		message = message[length:]
	}
	return value, content
}

// printable is the beginning of a text on one line, or empty where it is no text.
func printable(text []byte) string {
	if !utf8.Valid(text) {
		return ""
	}
	line := strings.Join(strings.Fields(string(text)), " ")
	return strings.ToValidUTF8(line[:min(len(line), maxMessage)], "")
}
