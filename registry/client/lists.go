package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

const (
	// maxList bounds a list in bytes, all of its pages together, maxNames and maxReferrers
	// in entries, and maxPages in pages, some of which may be empty: a registry whose pages
	// lead on for ever shall not take all memory, nor all time.
	maxList      = 32 << 20
	maxNames     = 1 << 20
	maxReferrers = 1 << 16
	maxPages     = 10_000
	pageSize     = "1000"
)

// Tags are all tags of a repository, in the registry's order. Errors: *Error, with
// ErrNotFound where the registry does not know the repository, with ErrTooMany.
func (c *Client) Tags(ctx context.Context, repository string) ([]string, error) {
	k, err := c.call(ctx, "list tags", http.MethodGet, repository, "tags", "list")
	if err != nil {
		return nil, err
	}
	k.reference = ""
	return pages[string](ctx, c, k, maxNames, func(p page) json.RawMessage { return p.Tags })
}

// Catalog are the names of all repositories of the registry. Many registries refuse
// it, or show a part. Errors: *Error, with ErrTooMany.
func (c *Client) Catalog(ctx context.Context) ([]string, error) {
	if err := c.Ping(ctx); err != nil {
		return nil, err
	}
	target := *c.base.Load()
	target.Path += "_catalog"
	k := &call{op: "catalog", method: http.MethodGet, url: &target, header: http.Header{}, scopes: []string{"registry:catalog:*"}}
	return pages[string](ctx, c, k, maxNames, func(p page) json.RawMessage { return p.Repositories })
}

// page is a page of any of the lists.
type page struct {
	Tags         json.RawMessage `json:"tags"`
	Repositories json.RawMessage `json:"repositories"`
	Manifests    json.RawMessage `json:"manifests"`
}

// pages reads a list of at most limit entries page by page, along the links from one to
// the next. of is what holds the entries of a page.
func pages[T any](ctx context.Context, c *Client, k *call, limit int, of func(page) json.RawMessage) (all []T, err error) {
	k.want = []int{http.StatusOK}
	query := k.url.Query()
	query.Set("n", pageSize)
	k.url.RawQuery = query.Encode()
	seen := map[string]bool{}
	left := int64(maxList)
	for range maxPages {
		seen[k.url.String()] = true
		a, err := c.fetch(ctx, k, left)
		if errors.Is(err, errTooLong) {
			return nil, k.fail(SideRegistry, ErrTooMany, fmt.Errorf("all of its pages have more than %d bytes", maxList))
		}
		if err != nil {
			return nil, err
		}
		if all, err = entries(all, a.body, limit, of); err != nil {
			return nil, k.fail(SideRegistry, causeAmong(err, ErrTooMany, ErrMismatch), err)
		}
		next, err := c.nextPage(k, a)
		if err != nil || next == nil {
			return all, err
		}
		if seen[next.String()] {
			return nil, k.fail(SideRegistry, ErrTooMany, errors.New("its pages lead in a circle"))
		}
		// What is kept of a page is its entries and its address.
		left -= int64(len(a.body) + len(next.String()))
		k.url = next
	}
	return nil, k.fail(SideRegistry, ErrTooMany, fmt.Errorf("more than %d pages", maxPages))
}

// entries appends those of a page, one by one: few bytes may hold many.
func entries[T any](all []T, body []byte, limit int, of func(page) json.RawMessage) ([]T, error) {
	var p page
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, fmt.Errorf("the list is no JSON of one: %w", err)
	}
	list := of(p)
	if len(list) == 0 || string(list) == "null" {
		return all, nil
	}
	d := json.NewDecoder(bytes.NewReader(list))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return nil, errors.New("the list is no JSON of one: no array")
	}
	for d.More() {
		if len(all) == limit {
			return nil, tooMany{limit}
		}
		var e T
		if err := d.Decode(&e); err != nil {
			return nil, fmt.Errorf("the list is no JSON of one: %w", err)
		}
		all = append(all, e)
	}
	return all, nil
}

// tooMany says that a list has more than limit entries.
type tooMany struct{ limit int }

func (t tooMany) Error() string        { return fmt.Sprintf("more than %d entries", t.limit) }
func (t tooMany) Is(target error) bool { return target == ErrTooMany }

// nextPage is where the Link of a page leads (RFC 5988), nil after the last page.
func (c *Client) nextPage(k *call, a answer) (*url.URL, error) {
	for _, line := range a.header.Values("Link") {
		for link := range strings.SplitSeq(line, ",") {
			target, params, ok := strings.Cut(link, ">")
			target = strings.TrimSpace(target)
			if !ok || !strings.HasPrefix(target, "<") || !strings.Contains(strings.ReplaceAll(params, `"`, ""), "rel=next") {
				continue
			}
			next, err := c.follow(k.url, target[1:])
			if err != nil {
				return nil, k.fail(SideRegistry, causeAmong(err, ErrPrivate, ErrRefused), fmt.Errorf("its next page: %w", err))
			}
			return next, nil
		}
	}
	return nil, nil
}
