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

// Referrers is what a registry says of the manifests that refer to one.
type Referrers struct {
	List []specs.Descriptor
	API  bool // the list is from the referrers API; else it is from the referrers tag
	// Unknown is why the registry was not to be had to say it: it refuses the list, or fails
	// at it. List may then lack some.
	Unknown error
}

// Referrers lists the manifests whose subject is d: from the referrers API, or from the
// referrers tag where there is none. None is no error, and a registry that refuses to say
// is none either: see [Referrers]. Errors: *Error, with ErrTooMany.
func (c *Client) Referrers(ctx context.Context, repository string, d digest.Digest) (Referrers, error) {
	k, err := c.call(ctx, "list referrers", http.MethodGet, repository, "referrers", d.String())
	if err != nil {
		return Referrers{}, err
	}
	k.header.Set("Accept", specs.MediaTypeImageIndex)
	k.once = c.referrersFail.Load() // an API that failed to the end is not waited for again
	list, err := pages(ctx, c, k, maxReferrers, manifestsOf, func(l []specs.Descriptor) ([]specs.Descriptor, string) { return l, "" })
	if err == nil {
		c.referrersAPI.Store(true)
		return Referrers{List: list, API: true}, nil
	}
	// An answer that stays wrong is one of what does not know the API, unless it does.
	failing := errors.Is(err, ErrServer) || isMismatch(err)
	if !SaysNothing(err) && !errors.Is(err, ErrNotFound) || failing && c.referrersAPI.Load() {
		return Referrers{}, err // what worked before is out of order, and not unknown to the registry
	}
	c.referrersFail.Store(failing)
	var found Referrers
	// Some that do not know the API answer with a page of theirs, or refuse the path.
	if errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrDenied) || errors.Is(err, ErrServer) {
		found.Unknown = err
		c.noticeReferrers(err)
	}
	found.List, err = c.referrersByTag(ctx, repository, d)
	if found.Unknown != nil && (errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrDenied)) {
		err = nil // that is how some say that there is none
	}
	return found, err
}

// noticeReferrers tells once that a registry does not say what refers to what.
func (c *Client) noticeReferrers(err error) {
	if c.noticed.Swap(true) || c.options.Noticed == nil {
		return
	}
	c.options.Noticed(fmt.Errorf("the registry does not list what refers to images, and only what tags name is seen: %w", err))
}

// SaysNothing reports whether a request got an answer that does not say what was asked,
// neither yes nor no: the registry refuses it, fails at it, or answers something else.
// Where the question only saves requests, that is no reason to give up.
func SaysNothing(err error) bool {
	var e *Error
	if !errors.As(err, &e) || e.Side != SideRegistry {
		return false
	}
	return errors.Is(e.Cause, ErrMismatch) || errors.Is(e.Cause, ErrRefused) || e.Status != 0 && e.Status != http.StatusNotFound && e.Status != http.StatusTooManyRequests
}

// referrersByTag reads the referrers tag. It need not be there.
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
