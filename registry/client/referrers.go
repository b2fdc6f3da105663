package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// ReferrersTag is the tag that lists the referrers of d in a registry without the
// referrers API (distribution specification, "Referrers Tag Schema").
func ReferrersTag(d digest.Digest) string {
	return d.Algorithm().String() + "-" + d.Encoded()
}

// Referrers are the descriptors of the manifests whose subject is d: from the
// referrers API, or from the referrers tag where there is none. None is no error. api
// says which of both it was. Errors: *Error, with ErrTooMany.
func (c *Client) Referrers(ctx context.Context, repository string, d digest.Digest) (list []specs.Descriptor, api bool, err error) {
	k, err := c.call(ctx, "list referrers", http.MethodGet, repository, "referrers", d.String())
	if err != nil {
		return nil, false, err
	}
	k.header.Set("Accept", specs.MediaTypeImageIndex)
	list, err = pages[specs.Descriptor](ctx, c, k, maxReferrers, manifestsOf)
	switch {
	case err == nil:
		return list, true, nil
	// Some that do not know the API answer with a page of theirs, or refuse the path.
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrUnsupported), errors.Is(err, ErrMismatch), errors.Is(err, ErrRefused):
		list, err = c.referrersByTag(ctx, repository, d)
		return list, false, err
	}
	return nil, false, err
}

// referrersByTag reads the referrers tag. It need not be there.
func (c *Client) referrersByTag(ctx context.Context, repository string, d digest.Digest) (list []specs.Descriptor, err error) {
	m, err := c.Manifest(ctx, repository, ReferrersTag(d))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if list, err = entries(list, m.Body, maxReferrers, manifestsOf); err != nil {
		return nil, &Error{Op: "list referrers", Host: c.options.Registry, Repository: repository, Reference: ReferrersTag(d),
			Side: SideRegistry, Cause: causeAmong(err, ErrTooMany, ErrMismatch), Err: err}
	}
	return list, nil
}

func manifestsOf(p page) json.RawMessage { return p.Manifests }
