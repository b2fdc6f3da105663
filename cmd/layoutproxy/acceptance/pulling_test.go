package acceptance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
)

// patient is a client that pulls images, checks every digest and retries. It sends a request again
// after an error, or after the status 429 or 5xx. If a body was interrupted, it requests only the
// rest, as a range.
type patient struct {
	client  *http.Client
	retries int           // number of retries per request
	pause   time.Duration // time to wait before each retry

	retried, pulled atomic.Int64
}

// errWrong is the error for a response that a retry would not change, such as 404.
var errWrong = errors.New("wrong content")

// image pulls an image. base is the URL of the registry, and name is REPOSITORY:TAG. want is the
// expected digest of the manifest; empty means any digest.
func (p *patient) image(ctx context.Context, base, name string, want digest.Digest) error {
	repository, tag, _ := strings.Cut(name, ":")
	at := base + "/v2/" + repository
	header, body, err := p.get(ctx, at+"/manifests/"+tag)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	got := digest.FromBytes(body)
	if served := header.Get("Docker-Content-Digest"); served != got.String() || want != "" && got != want {
		return fmt.Errorf("%s: the manifest has the digest %s, the header %s, want %q: %w", name, got, served, want, errWrong)
	}
	if err := p.contentOf(ctx, at, body); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	p.pulled.Add(1)
	return nil
}

// contentOf pulls everything to which a manifest refers: its children, config and layers.
func (p *patient) contentOf(ctx context.Context, at string, body []byte) error {
	var m manifest
	if err := json.Unmarshal(body, &m); err != nil {
		return err
	}
	for _, child := range m.Manifests {
		body, err := p.content(ctx, at+"/manifests/", child.Digest)
		if err == nil {
			err = p.contentOf(ctx, at, body)
		}
		if err != nil {
			return err
		}
	}
	for _, part := range m.parts() {
		if _, err := p.content(ctx, at+"/blobs/", part.Digest); err != nil {
			return err
		}
	}
	return nil
}

// content pulls a manifest or a blob by its digest, and verifies it.
func (p *patient) content(ctx context.Context, below string, d digest.Digest) ([]byte, error) {
	_, body, err := p.get(ctx, below+d.String())
	if err == nil && d.Algorithm().FromBytes(body) != d {
		err = fmt.Errorf("checksum mismatch: got %d bytes, want content with the digest %s: %w", len(body), d, errWrong)
	}
	return body, err
}

// get downloads a URL. It retries, and resumes an interrupted body.
func (p *patient) get(ctx context.Context, url string) (header http.Header, body []byte, err error) {
	var received bytes.Buffer
	for try := 0; ; try++ {
		header, err = p.rest(ctx, url, &received)
		if err == nil || errors.Is(err, errWrong) || ctx.Err() != nil || try == p.retries {
			return header, received.Bytes(), err
		}
		p.retried.Add(1)
		select {
		case <-time.After(p.pause):
		case <-ctx.Done():
		}
	}
}

// rest downloads the bytes of a URL that are not in received yet, and appends them to received.
func (p *patient) rest(ctx context.Context, url string, received *bytes.Buffer) (http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "*/*")
	if received.Len() > 0 {
		req.Header.Set("Range", "bytes="+strconv.Itoa(received.Len())+"-")
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch code := resp.StatusCode; {
	case code == http.StatusOK:
		received.Reset()
	case code == http.StatusPartialContent && received.Len() > 0:
	case code == http.StatusTooManyRequests || code >= http.StatusInternalServerError:
		return nil, fmt.Errorf("%s: %s", url, resp.Status)
	default:
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return nil, fmt.Errorf("%s: %s: %s: %w", url, resp.Status, text, errWrong)
	}
	_, err = io.Copy(received, resp.Body)
	return resp.Header, err
}
