package push

import (
	"context"
	"errors"
	"net/http"

	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

// headManifest requests the descriptor of a manifest. A refused HEAD has no body that explains
// the cause, so headManifest repeats it as a GET, whose answer counts. Errors: those of
// client.Client's HeadManifest.
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
	m, told := c.Manifest(ctx, repository, reference)
	if told == nil {
		return specs.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: int64(len(m.Body))}, nil
	}
	if ctx.Err() != nil {
		return d, ctx.Err()
	}
	var full *client.Error
	if errors.As(told, &full) && full.Status/100 == 4 {
		return d, told
	}
	return d, err
}
