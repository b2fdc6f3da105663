package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
)

// MaxManifest is the longest manifest that is read. The distribution specification
// asks for 4 MiB at least; containerd takes 8 MiB at most.
const MaxManifest = 8 << 20

// accept are the types of manifest that are asked for.
func accept() string {
	return strings.Join([]string{
		specs.MediaTypeImageIndex, specs.MediaTypeImageManifest,
		closure.DockerManifestList, closure.DockerManifest, "*/*;q=0.1",
	}, ", ")
}

// Manifest is a manifest or index, byte for byte.
type Manifest struct {
	MediaType string
	Digest    digest.Digest // of Body
	Body      []byte
}

// Manifest fetches the manifest of a tag or digest. Asked by digest, the bytes have
// that digest; asked by tag, they have the one that the registry says, if it says
// one. Errors: *Error, with ErrNotFound where it is not there, with ErrMismatch where
// the answer stays wrong.
func (c *Client) Manifest(ctx context.Context, repository, reference string) (Manifest, error) {
	k, err := c.call(ctx, "get manifest", http.MethodGet, repository, "manifests", reference)
	if err != nil {
		return Manifest{}, err
	}
	k.header.Set("Accept", accept())
	k.want = []int{http.StatusOK}
	var m Manifest
	err = c.insist(ctx, k, func() (err error) {
		m, err = c.manifest(ctx, k)
		return err
	})
	return m, err
}

// manifest asks for a manifest once.
func (c *Client) manifest(ctx context.Context, k *call) (Manifest, error) {
	a, err := c.fetch(ctx, k, MaxManifest)
	if err != nil {
		return Manifest{}, err
	}
	want, err := digestOf(k, a.header)
	if err != nil {
		return Manifest{}, err
	}
	m := Manifest{MediaType: mediaType(a.header), Body: a.body}
	if want == "" { // nothing but its form can be checked
		if !json.Valid(a.body) {
			return Manifest{}, k.fail(SideRegistry, ErrMismatch, fmt.Errorf("its %d bytes of %.60q are no JSON", len(a.body), m.MediaType))
		}
		m.Digest = digest.FromBytes(a.body)
		return m, nil
	}
	m.Digest = want
	if got := want.Algorithm().FromBytes(a.body); got != want {
		return Manifest{}, k.fail(SideRegistry, ErrMismatch, fmt.Errorf("checksum mismatch: its %d bytes are those of %s, not of %s", len(a.body), got, want))
	}
	return m, nil
}

// HeadManifest asks for the descriptor of a tag or digest. Where the registry does not
// say the digest, the manifest is fetched. Errors: *Error, with ErrNotFound where it is
// not there.
func (c *Client) HeadManifest(ctx context.Context, repository, reference string) (specs.Descriptor, error) {
	k, err := c.call(ctx, "head manifest", http.MethodHead, repository, "manifests", reference)
	if err != nil {
		return specs.Descriptor{}, err
	}
	k.header.Set("Accept", accept())
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

// PutManifest pushes the bytes of a manifest under a tag or its digest. subject is what
// the registry took for its subject; it is empty where there is none, and where the
// registry has no referrers API, so that the referrers tag is the client's business.
// Errors: *Error, with ErrMismatch where the registry made another digest of it.
func (c *Client) PutManifest(ctx context.Context, repository, reference string, m Manifest) (subject digest.Digest, err error) {
	k, err := c.call(ctx, "put manifest", http.MethodPut, repository, "manifests", reference)
	if err != nil {
		return "", err
	}
	k.header.Set("Content-Type", m.MediaType)
	k.setBody(m.Body)
	k.want = []int{http.StatusCreated, http.StatusOK, http.StatusAccepted, http.StatusNoContent}
	var a answer
	err = c.Settle(ctx, func() (again bool, err error) {
		a, err = c.fetch(ctx, k, maxErrorBody)
		return lacksParts(err), err
	})
	if err != nil {
		return "", err
	}
	if got := digest.Digest(a.header.Get("Docker-Content-Digest")); got != "" && got != m.Digest && got.Algorithm() == m.Digest.Algorithm() {
		return "", k.fail(SideRegistry, ErrMismatch, fmt.Errorf("%s was sent, and it has made %s of it", m.Digest, got))
	}
	subject = digest.Digest(a.header.Get("OCI-Subject"))
	if subject.Validate() != nil {
		subject = ""
	}
	return subject, nil
}

// lacksParts reports whether a registry refuses a manifest for something that it names:
// what another of its servers has acknowledged a moment ago it may not know yet.
func lacksParts(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.HasCode("MANIFEST_BLOB_UNKNOWN") || e.HasCode("BLOB_UNKNOWN") || e.HasCode("MANIFEST_UNKNOWN"))
}

// digestOf is the digest that an answer has to have: the one that was asked for, or the
// one that its header says.
func digestOf(k *call, h http.Header) (digest.Digest, error) {
	said := digest.Digest(h.Get("Docker-Content-Digest"))
	if said != "" && said.Validate() != nil {
		return "", k.fail(SideRegistry, ErrMismatch, fmt.Errorf("it says the digest %.80q", said))
	}
	asked := digest.Digest(k.reference)
	if asked.Validate() != nil { // a tag
		return said, nil
	}
	if said != "" && said != asked && said.Algorithm() == asked.Algorithm() {
		return "", k.fail(SideRegistry, ErrMismatch, fmt.Errorf("it says the digest %s", said))
	}
	return asked, nil
}

// mediaType is the Content-Type without parameters.
func mediaType(h http.Header) string {
	t, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}
