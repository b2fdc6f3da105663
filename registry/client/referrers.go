package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// Referrers lists manifests that all refer to one manifest. It may be incomplete: see Unknown.
type Referrers struct {
	List []specs.Descriptor
	// API is true if the list comes from the referrers API, and false if it is from the referrers
	// tag.
	API bool
	// Unknown is the error if the registry refused or failed to list the referrers. If it is not
	// nil, List may be incomplete.
	Unknown error
}

// Referrers lists the manifests whose subject is d. It uses the referrers API, or the referrers
// tag if the registry has no such API. An empty list is not an error. If the registry refuses or
// fails to list the referrers, [Referrers].Unknown is set. If the list is too long, the *Error
// wraps ErrTooMany.
func (c *Client) Referrers(ctx context.Context, repository string, d digest.Digest) (Referrers, error) {
	k, err := c.call(ctx, "list referrers", http.MethodGet, repository, "referrers", d.String())
	if err != nil {
		return Referrers{}, err
	}
	k.header.Set("Accept", specs.MediaTypeImageIndex)
	k.once = c.referrersFail.Load() // if the API failed after all retries, do not retry it again
	list, err := pages(ctx, c, k, maxReferrers, manifestsOf, func(l []specs.Descriptor) ([]specs.Descriptor, string) { return l, "" })
	if err == nil {
		c.referrersAPI.Store(true)
		return Referrers{List: list, API: true}, nil
	}
	// Repeated wrong answers mean that the registry has no referrers API, unless it worked before.
	failing := errors.Is(err, ErrServer) || isMismatch(err)
	if !IsInconclusive(err) && !errors.Is(err, ErrNotFound) || failing && c.referrersAPI.Load() {
		return Referrers{}, err
	}
	c.referrersFail.Store(failing)
	var found Referrers
	// Only these errors leave the referrers unknown. After any other answer, such as an HTML page,
	// the registry is assumed to have no referrers API.
	if errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrDenied) || errors.Is(err, ErrServer) {
		found.Unknown = err
		if !c.noticed.Swap(true) {
			c.options.Noticed(fmt.Errorf("the registry does not list referrers: only signatures and attestations that have tags are found: %w", err))
		}
	}
	found.List, err = c.referrersByTag(ctx, repository, d)
	if found.Unknown != nil && (errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrDenied)) {
		err = nil // some registries answer 401 or 403 if the referrers tag is missing
	}
	return found, err
}

// IsInconclusive reports whether the registry's answer means neither yes nor no. That is so if the
// registry refuses the request, fails, or sends a wrong answer. A caller that sent the request only
// as an optimization can continue.
func IsInconclusive(err error) bool {
	var e *Error
	if !errors.As(err, &e) || e.Side != SideRegistry {
		return false
	}
	return errors.Is(e.Cause, ErrMismatch) || errors.Is(e.Cause, ErrRefused) || e.Status != 0 && e.Status != http.StatusNotFound && e.Status != http.StatusTooManyRequests
}

// referrersByTag reads the referrers tag. If the tag is missing, the list is empty.
func (c *Client) referrersByTag(ctx context.Context, repository string, d digest.Digest) (list []specs.Descriptor, err error) {
	m, err := c.Manifest(ctx, repository, names.ReferrersTag(d))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if list, err = entries(list, m.Body, maxReferrers, manifestsOf); err != nil {
		return nil, &Error{Op: "list referrers", Host: c.options.Registry, Repository: repository, Reference: names.ReferrersTag(d),
			Side: SideRegistry, Cause: causeAmong(err, ErrTooMany, ErrMismatch), Err: err}
	}
	return list, nil
}

func manifestsOf(p page) json.RawMessage { return p.Manifests }
