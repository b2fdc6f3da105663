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
	"time"
	"unicode/utf8"

	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// collector sends spans to a collector by OTLP over HTTP, in protobuf format. It implements
// otlptrace.Client. OpenTelemetry's own client would link gRPC into the binary.
type collector struct {
	settings
	http  *http.Client
	pause time.Duration // pause before the first retry
}

const (
	firstPause = 5 * time.Second
	lastPause  = 30 * time.Second
	retryFor   = time.Minute // limit for all tries; the context of the exporter may end earlier

	maxAnswer  = 64 << 10
	maxMessage = 200 // longest excerpt of an answer in an error message, in bytes
)

const protobuf = "application/x-protobuf"

func newCollector(s settings) *collector {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = s.tls
	return &collector{settings: s, pause: firstPause, http: &http.Client{
		Transport: transport, Timeout: s.timeout,
		// The headers may contain a credential, which must not be sent to another host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Start implements otlptrace.Client.
func (c *collector) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (c *collector) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// UploadTraces sends spans. After a timeout or a status that OTLP calls retryable, it retries for at most a minute.
func (c *collector) UploadTraces(ctx context.Context, spans []*otlp.ResourceSpans) error {
	// TracesData has the same encoding as ExportTraceServiceRequest: one field with the same
	// number and the same type.
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
	err = errors.Join(err, z.Close())
	return b.Bytes(), err
}

// post sends the spans once. again reports whether the caller may retry. after is how long the
// collector asked the caller to wait before that.
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
	// OTLP's specification lists these codes as retryable ("Retryable Response Codes").
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return retryAfter(resp.Header), true, err
	}
	return 0, false, err
}

// retryAfter returns how long a Retry-After header asks the client to wait, or 0 (RFC 9110,
// section 10.2.3).
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

// partialSuccess returns an error if an answer rejects some spans, or contains a warning. Field 1 of
// ExportTraceServiceResponse is an embedded message. Its field 1 is the number of rejected spans, and its
// field 2 is the reason, or a warning if no span was rejected.
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
	return fmt.Errorf("the collector rejected %d spans: %s", rejected, problem.Excerpt(string(why), maxMessage))
}

// message returns the error message in an answer: field 2 of google.rpc.Status if the answer is in
// protobuf format, and the complete text otherwise.
func message(answer []byte, isProtobuf bool) string {
	if isProtobuf {
		_, answer = field(answer, 2)
	}
	if text := problem.Excerpt(string(answer), maxMessage); text != "" && utf8.Valid(answer) {
		return ": " + text
	}
	return ""
}

// field returns a field of a protobuf message: its value if it is a number, or its content if it
// is a sequence of bytes. If the message is malformed, field reads it up to the first error.
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
