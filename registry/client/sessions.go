package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// session is an upload session in the registry. Its methods send the requests of the
// specification's section "Pushing a blob in chunks". They do not retry.
type session struct {
	c          *Client
	repository string
	digest     string
	location   *url.URL
}

// commitRate is how fast, in bytes per second, a registry is assumed to hash or copy an upload
// during the commit. During this time, the registry sends nothing.
const commitRate = 20 << 20

const (
	// opPatch is the name of the operation that sends a chunk.
	opPatch = "patch blob"
	// opOffset is the name of the operation that asks how many bytes the registry has.
	opOffset = "get upload status"
	// opCommit is the name of the operation that completes an upload whose content was sent.
	opCommit = "commit blob"
)

func (s *session) call(op, method string) *call {
	target := *s.location
	k := &call{op: op, method: method, url: &target, repository: s.repository, reference: s.digest, header: http.Header{}, once: true}
	k.scopes = []string{s.c.scope(s.repository, http.MethodPost)}
	return k
}

// mount asks the registry to mount a blob from another repository, and returns what begin
// returns. It retries temporary failures except server errors: see [mountRefused].
func (c *Client) mount(ctx context.Context, repository, blob, from string) (*session, error) {
	s, err := c.begin(ctx, repository, blob, from, true)
	var e *Error
	if errors.As(err, &e) && e.temporary() && !mountRefused(err) {
		return c.begin(ctx, repository, blob, from, false)
	}
	return s, err
}

// begin starts an upload. If from is not empty, it asks to mount the blob from that repository.
// once disables retries. If the blob was mounted, the session is nil. The error is an *Error or
// the context's.
func (c *Client) begin(ctx context.Context, repository, blob, from string, once bool) (*session, error) {
	k, err := c.call(ctx, "start upload", http.MethodPost, repository, "blobs/uploads", "")
	if err != nil {
		return nil, err
	}
	k.reference, k.once = blob, once
	k.want = []int{http.StatusAccepted}
	if from != "" {
		k.op = "mount blob"
		k.url.RawQuery = url.Values{"mount": {blob}, "from": {from}}.Encode()
		k.scopes = append(k.scopes, "repository:"+from+":pull")
		k.want = append(k.want, http.StatusCreated)
	}
	resp, err := c.do(ctx, k)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusCreated {
		return nil, nil
	}
	s := &session{c: c, repository: repository, digest: blob, location: resp.Request.URL}
	return s, s.move(k, resp, true)
}

// move stores the Location header of an answer. If the header is missing, that is an error only
// if required is true.
func (s *session) move(k *call, resp *http.Response, required bool) error {
	location := resp.Header.Get("Location")
	if location == "" && !required {
		return nil
	}
	to, err := s.c.follow(resp.Request.URL, location)
	if err != nil {
		return k.fail(SideRegistry, causeAmong(err, ErrPrivate, ErrRefused), fmt.Errorf("upload Location: %w", err))
	}
	s.location = to
	return nil
}

// offset asks the registry how many bytes of the upload it has.
func (s *session) offset(ctx context.Context) (int64, error) {
	k := s.call(opOffset, http.MethodGet)
	k.want = []int{http.StatusNoContent, http.StatusOK, http.StatusAccepted}
	resp, err := s.c.do(ctx, k)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	if err := s.move(k, resp, false); err != nil {
		return 0, err
	}
	n, ok := parseReceived(resp.Header)
	if !ok {
		return 0, k.fail(SideRegistry, ErrMismatch, fmt.Errorf("the registry reports the malformed range %.60q", resp.Header.Get("Range")))
	}
	return n, nil
}

// parseReceived returns how many bytes a registry has, according to its Range header. Some
// registries send 0-0 for zero bytes as well as for one byte, so 0-0 is read as zero. If the
// registry has one byte, it answers the next chunk with 416.
func parseReceived(h http.Header) (int64, bool) {
	first, last, ok := strings.Cut(strings.TrimPrefix(h.Get("Range"), "bytes="), "-")
	n, err := strconv.ParseInt(last, 10, 64)
	if !ok || err != nil || first != "0" || n < 0 || n == 1<<63-1 {
		return 0, false
	}
	if n == 0 {
		return 0, true
	}
	return n + 1, true
}

// patch sends the bytes in the half-open range [from, to). ranged adds a Content-Range header,
// which a registry needs only if it already has some bytes. After a success, the client assumes
// that the registry has all these bytes. It ignores the Range header of the answer, because some
// registries count it wrongly. A registry with fewer bytes refuses the next chunk or the digest.
func (s *session) patch(ctx context.Context, content *content, from, to int64, ranged bool) error {
	k := s.call(opPatch, http.MethodPatch)
	k.want = []int{http.StatusAccepted, http.StatusNoContent, http.StatusCreated, http.StatusOK}
	k.header.Set("Content-Type", "application/octet-stream")
	if ranged {
		k.header.Set("Content-Range", fmt.Sprintf("%d-%d", from, to-1))
	}
	k.size = to - from
	k.patience = time.Duration(k.size/commitRate) * time.Second
	k.body = func() (io.ReadCloser, error) { return content.open(from, to) }
	resp, err := s.c.do(ctx, k)
	if err != nil {
		return err
	}
	resp.Body.Close()
	s.c.patched.Store(true)
	return s.move(k, resp, false)
}

// commit completes an upload of size bytes. If content is nil, everything was already sent, and
// the request has no body. Otherwise, the request contains all of content.
func (s *session) commit(ctx context.Context, content *content, size int64) error {
	k := s.call("put blob", http.MethodPut)
	k.want = []int{http.StatusCreated, http.StatusOK, http.StatusNoContent, http.StatusAccepted}
	k.patience = time.Duration(size/commitRate) * time.Second
	query := k.url.Query()
	query.Set("digest", s.digest)
	k.url.RawQuery = query.Encode()
	k.header.Set("Content-Type", "application/octet-stream")
	k.body = func() (io.ReadCloser, error) { return http.NoBody, nil }
	if content != nil {
		k.size = size
		k.body = func() (io.ReadCloser, error) { return content.open(0, size) }
	} else {
		k.op = opCommit
	}
	resp, err := s.c.do(ctx, k)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// cancel cancels the upload. Some registries do not support this.
func (s *session) cancel(ctx context.Context) error {
	k := s.call("cancel upload", http.MethodDelete)
	k.scopes = []string{s.c.scope(s.repository, http.MethodDelete)}
	k.want = []int{http.StatusNoContent, http.StatusOK, http.StatusAccepted}
	resp, err := s.c.do(ctx, k)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// ProbeUpload tests whether the registry accepts chunked uploads, even if an earlier upload has shown that
// it does not. It starts an upload, sends two bytes and cancels it, so that nothing remains. If refused is
// not nil, it gives the reason why uploads to this registry cannot be resumed. err is an *Error if the upload cannot be started,
// or the context's error.
func (c *Client) ProbeUpload(ctx context.Context, repository string) (refused, err error) {
	s, err := c.begin(ctx, repository, "", "", false)
	if err != nil {
		return nil, err
	}
	two := &content{size: 2, reader: func() (io.ReadSeekCloser, error) { return nopSeekCloser{strings.NewReader("ok")}, nil }}
	refused = s.patch(ctx, two, 0, 2, false)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	c.noPatch.Store(refused != nil && refusesPatch(refused))
	// If the upload cannot be cancelled, the registry eventually drops it.
	_ = s.cancel(ctx)
	return refused, ctx.Err()
}

// ProbeMount tests whether the registry accepts mounts. It asks to mount a nonexistent blob from
// another repository. According to the specification, the registry then starts an upload, which
// ProbeMount cancels, so that nothing remains. refused is the reason why the registry will refuse
// mounts, or nil. A 404 response is not such a reason, because it only means that the blob is
// missing. err is an *Error if the registry fails, or the context's error.
func (c *Client) ProbeMount(ctx context.Context, repository, from string) (refused, err error) {
	var nothing [32]byte
	_, _ = rand.Read(nothing[:]) // never fails
	d := digest.FromBytes(nothing[:])
	s, err := c.mount(ctx, repository, d.String(), from)
	switch {
	case errors.Is(err, ErrNotFound):
		c.forgetRefusedMounts()
		return nil, nil
	case mountRefused(err):
		return err, nil
	case err != nil:
		return nil, err
	case s == nil:
		// The client tries no more mounts: it would believe a registry that only claims to have
		// mounted a blob, and the blob would be missing.
		c.mountsRefused.Store(falseMounts)
		return &Error{Op: "mount blob", Host: c.options.Registry, Repository: repository, Reference: d.String(), Side: SideRegistry,
			Status: http.StatusCreated, Cause: ErrMismatch, Err: errors.New("the registry claims to have mounted a blob that exists nowhere")}, nil
	}
	c.forgetRefusedMounts()
	_ = s.cancel(ctx)
	return nil, ctx.Err()
}

// forgetRefusedMounts makes the client try mounts again, unless the registry has falsely claimed a mount.
// A client may live for months, in which the user is given a missing right or the registry is repaired.
func (c *Client) forgetRefusedMounts() {
	if n := c.mountsRefused.Load(); n > 0 && n < falseMounts {
		c.mountsRefused.CompareAndSwap(n, 0)
	}
}

type nopSeekCloser struct{ io.ReadSeeker }

func (nopSeekCloser) Close() error { return nil }

// refusesPatch reports whether err means that the registry, or a proxy, does not support PATCH.
func refusesPatch(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	return errors.Is(e.Cause, ErrUnsupported) || e.HasCode("UNSUPPORTED") ||
		e.Status == http.StatusNotFound && !e.HasCode("BLOB_UPLOAD_UNKNOWN")
}
