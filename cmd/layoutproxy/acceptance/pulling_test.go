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

// patient pulls as clients do: a manifest by its tag, all that it names by digest, a request
// again that failed on the way or was answered with 429 or 5xx, and the rest of a body that
// was cut off by its range. It checks each digest.
type patient struct {
	client  *http.Client
	retries int           // of one request
	pause   time.Duration // before each of them

	retried, pulled atomic.Int64
}

// errWrong says that content does not match the request. It is never retried.
var errWrong = errors.New("wrong content")

// image pulls name, as repository:tag, from a registry at a base URL. Digest is that of its
// manifest, or empty if any will do.
func (p *patient) image(ctx context.Context, base, name string, want digest.Digest) error {
	repository, tag, _ := strings.Cut(name, ":")
	at := base + "/v2/" + repository
	header, body, err := p.get(ctx, at+"/manifests/"+tag)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	got := digest.FromBytes(body)
	if served := header.Get("Docker-Content-Digest"); served != got.String() || want != "" && got != want {
		return fmt.Errorf("%s: the manifest is %s, the header says %s, wanted %q: %w", name, got, served, want, errWrong)
	}
	if err := p.named(ctx, at, body); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	p.pulled.Add(1)
	return nil
}

// named pulls what a manifest names.
func (p *patient) named(ctx context.Context, at string, body []byte) error {
	var m manifest
	if err := json.Unmarshal(body, &m); err != nil {
		return err
	}
	for _, child := range m.Manifests {
		body, err := p.content(ctx, at+"/manifests/", child.Digest)
		if err == nil {
			err = p.named(ctx, at, body)
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

// content pulls what a digest names.
func (p *patient) content(ctx context.Context, below string, d digest.Digest) ([]byte, error) {
	_, body, err := p.get(ctx, below+d.String())
	if err == nil && d.Algorithm().FromBytes(body) != d {
		err = fmt.Errorf("%s: %d bytes of another digest: %w", d, len(body), errWrong)
	}
	return body, err
}

// get gets all of a URL.
func (p *patient) get(ctx context.Context, url string) (header http.Header, body []byte, err error) {
	var so bytes.Buffer
	for try := 0; ; try++ {
		header, err = p.rest(ctx, url, &so)
		if err == nil || errors.Is(err, errWrong) || ctx.Err() != nil || try == p.retries {
			return header, so.Bytes(), err
		}
		p.retried.Add(1)
		select {
		case <-time.After(p.pause):
		case <-ctx.Done():
		}
	}
}

// rest gets what of a URL is missing in so.
func (p *patient) rest(ctx context.Context, url string, so *bytes.Buffer) (http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "*/*")
	if so.Len() > 0 {
		req.Header.Set("Range", "bytes="+strconv.Itoa(so.Len())+"-")
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch code := resp.StatusCode; {
	case code == http.StatusOK:
		so.Reset()
	case code == http.StatusPartialContent && so.Len() > 0:
	case code == http.StatusTooManyRequests || code >= http.StatusInternalServerError:
		return nil, fmt.Errorf("%s: %s", url, resp.Status)
	default:
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return nil, fmt.Errorf("%s: %s: %s: %w", url, resp.Status, text, errWrong)
	}
	_, err = io.Copy(so, resp.Body)
	return resp.Header, err
}
