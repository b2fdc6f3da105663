package registry

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

var (
	noCache     = []string{"no-cache"}
	acceptBytes = []string{"bytes"}

	// A bundle determines the media types of its manifests. If browsers show content of such a
	// type, for example text/html, the scripts in the manifest must not run with the registry's
	// origin.
	sandboxed = []string{"default-src 'none'; sandbox"}
	noSniff   = []string{"nosniff"}
)

func (r *registry) manifests(w http.ResponseWriter, req *http.Request, s *layoutstore.Snapshot, name, reference string) error {
	m, cache, err := r.manifest(req.Context(), s, name, reference)
	if err != nil {
		return err
	}
	h := w.Header()
	h["Cache-Control"] = cache
	h["Content-Type"] = m.Texts.MediaType[:]
	h["Docker-Content-Digest"] = m.Texts.Digest[:]
	h["Etag"] = m.Texts.QuotedDigest[:]
	if !closure.IsManifest(m.MediaType) {
		h["Content-Security-Policy"], h["X-Content-Type-Options"] = sandboxed, noSniff
	}
	if isConditional(req.Header) {
		return serveContent(w, req, bytes.NewReader(m.Body), m.Size)
	}
	h["Accept-Ranges"] = acceptBytes
	h["Content-Length"] = m.Texts.Size[:]
	if req.Method == http.MethodHead {
		return nil
	}
	_, err = w.Write(m.Body)
	return asSendError(err)
}

// manifest returns the manifest of a tag or digest, and the Cache-Control header for the answer.
func (r *registry) manifest(ctx context.Context, s *layoutstore.Snapshot, name, reference string) (m *layoutstore.Manifest, cache []string, err error) {
	if strings.Contains(reference, ":") {
		repo, d, err := repositoryAndDigest(s, name, reference)
		if err != nil {
			return nil, nil, err
		}
		m, err = repo.Manifest(ctx, d)
		return m, r.immutable, err
	}
	repo, err := repository(s, name, func() error {
		if !names.IsTag(reference) {
			return fmt.Errorf("%.200q: %w", reference, errTag)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	m, err = repo.TagManifest(ctx, reference)
	return m, noCache, err
}

// setContentHeaders sets the headers for the media type and the digest of a body. The digest in
// quotes is also its strong ETag.
func setContentHeaders(h http.Header, mediaType string, d digest.Digest) {
	quoted := `"` + string(d) + `"`
	values := [...]string{mediaType, quoted[1 : len(quoted)-1], quoted} // one array for all three headers saves allocations
	h["Content-Type"] = values[0:1:1]
	h["Docker-Content-Digest"] = values[1:2:2]
	h["Etag"] = values[2:3:3]
}

// isConditional reports whether a request's headers allow other answers than the complete content.
func isConditional(h http.Header) bool {
	_, asked := h["Range"]
	return asked || hasCondition(h)
}

// hasCondition reports whether a request has a conditional header (RFC 9110, section 13.1).
func hasCondition(h http.Header) bool {
	for _, name := range [...]string{"If-None-Match", "If-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range"} {
		if _, ok := h[name]; ok {
			return true
		}
	}
	return false
}

// noModTime tells net/http that content has no modification time, because its digest identifies it.
var noModTime time.Time
