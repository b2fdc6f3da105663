package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
)

// MaxManifest is the size in bytes of the largest manifest that is read. The distribution
// specification requires at least 4 MiB; containerd accepts at most 8 MiB.
const MaxManifest = 8 << 20

const accept = specs.MediaTypeImageIndex + ", " + specs.MediaTypeImageManifest + ", " +
	closure.DockerManifestList + ", " + closure.DockerManifest + ", */*;q=0.1"

// Manifest is a manifest or index. Body contains its exact bytes.
type Manifest struct {
	MediaType string
	Digest    digest.Digest // of Body
	Body      []byte
}

// Manifest fetches the manifest of a tag or digest. It checks the content against the requested
// digest. For a tag, it uses the digest that the registry reports, if any. The *Error wraps
// ErrNotFound if the manifest is missing, and ErrMismatch if the answers to all tries are wrong.
func (c *Client) Manifest(ctx context.Context, repository, reference string) (Manifest, error) {
	k, err := c.call(ctx, "get manifest", http.MethodGet, repository, "manifests", reference)
	if err != nil {
		return Manifest{}, err
	}
	k.header.Set("Accept", accept)
	k.want = []int{http.StatusOK}
	var m Manifest
	err = c.retryMismatch(ctx, k, func() (err error) {
		m, err = c.manifest(ctx, k)
		return err
	})
	return m, err
}

// manifest requests a manifest. It does not repeat the request after a wrong answer.
func (c *Client) manifest(ctx context.Context, k *call) (Manifest, error) {
	header, body, err := c.fetch(ctx, k, MaxManifest)
	if err != nil {
		return Manifest{}, err
	}
	want, err := digestOf(k, header)
	if err != nil {
		return Manifest{}, err
	}
	m := Manifest{MediaType: mediaType(header), Body: body}
	if want == "" { // without a digest, only the JSON syntax can be checked
		if !json.Valid(body) {
			return Manifest{}, k.fail(SideRegistry, ErrMismatch, fmt.Errorf("malformed manifest: %d bytes of type %.60q are not JSON", len(body), m.MediaType))
		}
		m.Digest = digest.FromBytes(body)
		return m, nil
	}
	m.Digest = want
	if got := want.Algorithm().FromBytes(body); got != want {
		return Manifest{}, k.fail(SideRegistry, ErrMismatch, fmt.Errorf("checksum mismatch: content (%d bytes) is %s, not %s", len(body), got, want))
	}
	return m, nil
}

// HeadManifest requests the descriptor of a tag or digest. If the registry does not report the
// digest, HeadManifest fetches the manifest. If the manifest is missing, the *Error wraps
// ErrNotFound.
func (c *Client) HeadManifest(ctx context.Context, repository, reference string) (specs.Descriptor, error) {
	k, err := c.call(ctx, "head manifest", http.MethodHead, repository, "manifests", reference)
	if err != nil {
		return specs.Descriptor{}, err
	}
	k.header.Set("Accept", accept)
	k.want = []int{http.StatusOK}
	resp, err := c.do(ctx, k)
	if err != nil {
		return specs.Descriptor{}, err
	}
	resp.Body.Close()
	d, err := digestOf(k, resp.Header)
	if err != nil {
		return specs.Descriptor{}, err
	}
	if d != "" && resp.ContentLength >= 0 && mediaType(resp.Header) != "" {
		return specs.Descriptor{MediaType: mediaType(resp.Header), Digest: d, Size: resp.ContentLength}, nil
	}
	m, err := c.Manifest(ctx, repository, reference)
	return specs.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: int64(len(m.Body))}, err
}

// PutManifest pushes a manifest by tag or digest. subject is the subject that the registry
// recognized. It is empty if the manifest has no subject, or if the registry has no referrers API.
// If there is no such API, the caller has to update the referrers tag. If the registry computed
// another digest, the *Error wraps ErrMismatch.
func (c *Client) PutManifest(ctx context.Context, repository, reference string, m Manifest) (subject digest.Digest, err error) {
	k, err := c.call(ctx, "put manifest", http.MethodPut, repository, "manifests", reference)
	if err != nil {
		return "", err
	}
	k.header.Set("Content-Type", m.MediaType)
	k.setBody(m.Body)
	k.want = []int{http.StatusCreated, http.StatusOK, http.StatusAccepted, http.StatusNoContent}
	var header http.Header
	err = c.Settle(ctx, func() (again bool, err error) {
		header, _, err = c.fetch(ctx, k, maxErrorBody)
		return isPartMissing(err), err
	})
	if err != nil {
		return "", err
	}
	if got := digest.Digest(header.Get("Docker-Content-Digest")); got != "" && got != m.Digest && got.Algorithm() == m.Digest.Algorithm() {
		return "", k.fail(SideRegistry, ErrMismatch, fmt.Errorf("checksum mismatch: sent %s, the registry stored %s", m.Digest, got))
	}
	subject = digest.Digest(header.Get("OCI-Subject"))
	if subject.Validate() != nil {
		subject = ""
	}
	return subject, nil
}

// isPartMissing reports whether a registry refuses a manifest because a blob or manifest in it is
// missing. Behind a load balancer, one server may not see yet what another server has stored.
func isPartMissing(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.HasCode("MANIFEST_BLOB_UNKNOWN") || e.HasCode("BLOB_UNKNOWN") || e.HasCode("MANIFEST_UNKNOWN"))
}

// digestOf returns the digest that the body of an answer must have. If the request named a digest,
// that is the one. For a tag, it is the digest in the header, or "" if the header is missing.
func digestOf(k *call, h http.Header) (digest.Digest, error) {
	reported := digest.Digest(h.Get("Docker-Content-Digest"))
	if reported != "" && reported.Validate() != nil {
		return "", k.fail(SideRegistry, ErrMismatch, fmt.Errorf("the registry reports the malformed digest %.80q", reported))
	}
	requested := digest.Digest(k.reference)
	if requested.Validate() != nil { // a tag
		return reported, nil
	}
	if reported != "" && reported != requested && reported.Algorithm() == requested.Algorithm() {
		return "", k.fail(SideRegistry, ErrMismatch, fmt.Errorf("the registry reports the digest %s, not the requested one", reported))
	}
	return requested, nil
}

// mediaType returns the Content-Type without parameters, or "" if it is malformed.
func mediaType(h http.Header) string {
	t, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}
