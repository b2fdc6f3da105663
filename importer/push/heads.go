package push

import (
	"context"
	"errors"
	"net/http"

	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

// headManifest requests the descriptor of a manifest with HEAD. If the registry refuses (4xx, but
// not 404, 408 or 429), it sends GET, and returns the descriptor or the 4xx error of GET: a refused
// HEAD has no response body that explains the cause. Other errors are those of HeadManifest.
func headManifest(ctx context.Context, c *client.Client, repository, reference string) (specs.Descriptor, error) {
	d, err := c.HeadManifest(ctx, repository, reference)
	var e *client.Error
	if !errors.As(err, &e) || e.Op != "head manifest" || e.Status/100 != 4 {
		return d, err
	}
	switch e.Status {
	case http.StatusNotFound, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return d, err
	}
	m, getErr := c.Manifest(ctx, repository, reference)
	if getErr == nil {
		return specs.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: int64(len(m.Body))}, nil
	}
	if ctx.Err() != nil {
		return d, ctx.Err()
	}
	var explained *client.Error
	if errors.As(getErr, &explained) && explained.Status/100 == 4 {
		return d, getErr
	}
	return d, err
}
