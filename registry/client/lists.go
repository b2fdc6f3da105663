package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

const (
	// maxList bounds one page of a list, and maxPages how many are read.
	maxList  = 32 << 20
	maxPages = 100_000
	pageSize = "1000"
)

// Tags are all tags of a repository, in the registry's order. Errors: *Error, with
// ErrNotFound where the registry does not know the repository.
func (c *Client) Tags(ctx context.Context, repository string) ([]string, error) {
	k, err := c.call(ctx, "list tags", http.MethodGet, repository, "tags", "list")
	if err != nil {
		return nil, err
	}
	k.reference = ""
	var all []string
	err = c.pages(ctx, k, func(page []byte) error {
		var doc struct {
			Tags []string `json:"tags"`
		}
		err := json.Unmarshal(page, &doc)
		all = append(all, doc.Tags...)
		return err
	})
	return all, err
}

// Catalog are the names of all repositories of the registry. Many registries refuse
// it, or show a part. Errors: *Error.
func (c *Client) Catalog(ctx context.Context) ([]string, error) {
	if err := c.Ping(ctx); err != nil {
		return nil, err
	}
	target := *c.base.Load()
	target.Path += "_catalog"
	k := &call{op: "catalog", method: http.MethodGet, url: &target, header: http.Header{}, scopes: []string{"registry:catalog:*"}}
	var all []string
	err := c.pages(ctx, k, func(page []byte) error {
		var doc struct {
			Repositories []string `json:"repositories"`
		}
		err := json.Unmarshal(page, &doc)
		all = append(all, doc.Repositories...)
		return err
	})
	return all, err
}

// pages reads a list page by page, along the links from one to the next.
func (c *Client) pages(ctx context.Context, k *call, read func([]byte) error) error {
	k.want = []int{http.StatusOK}
	query := k.url.Query()
	query.Set("n", pageSize)
	k.url.RawQuery = query.Encode()
	seen := map[string]bool{}
	for range maxPages {
		seen[k.url.String()] = true
		a, err := c.fetch(ctx, k, maxList)
		if err != nil {
			return err
		}
		if err := read(a.body); err != nil {
			return k.fail(SideRegistry, ErrMismatch, fmt.Errorf("the list is no JSON of one: %w", err))
		}
		next, err := c.nextPage(k, a)
		if err != nil || next == nil {
			return err
		}
		if seen[next.String()] {
			return k.fail(SideRegistry, ErrMismatch, fmt.Errorf("its pages lead in a circle"))
		}
		k.url = next
	}
	return k.fail(SideRegistry, ErrMismatch, fmt.Errorf("more than %d pages", maxPages))
}

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
