package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

const (
	// These constants keep an endless list from using up memory or time. maxList is the limit in
	// bytes over all pages. maxNames and maxReferrers limit the number of entries. maxPages
	// limits the number of pages, because some pages may be empty.
	maxList      = 32 << 20
	maxNames     = 1 << 20
	maxReferrers = 1 << 16
	maxPages     = 10_000
	pageSize     = "1000"
)

// Tags returns all tags of a repository, in the registry's order and without duplicates. The
// *Error wraps ErrNotFound if the registry does not know the repository, and ErrTooMany if the
// list is too long.
func (c *Client) Tags(ctx context.Context, repository string) ([]string, error) {
	k, err := c.call(ctx, "list tags", http.MethodGet, repository, "tags", "list")
	if err != nil {
		return nil, err
	}
	k.reference = ""
	return listNames(ctx, c, k, func(p page) json.RawMessage { return p.Tags })
}

// Catalog returns the names of all repositories of the registry. Many registries refuse the
// request, or return only some names. If the list is too long, the *Error wraps ErrTooMany.
func (c *Client) Catalog(ctx context.Context) ([]string, error) {
	if err := c.Ping(ctx); err != nil {
		return nil, err
	}
	target := *c.base.Load()
	target.Path += "_catalog"
	k := &call{op: "catalog", method: http.MethodGet, url: &target, header: http.Header{}, scopes: []string{"registry:catalog:*"}}
	return listNames(ctx, c, k, func(p page) json.RawMessage { return p.Repositories })
}

// listNames reads a list of names and drops duplicates. Pages may overlap if the registry does
// not report where the next page starts.
func listNames(ctx context.Context, c *Client, k *call, of func(page) json.RawMessage) ([]string, error) {
	seen := map[string]bool{}
	return pages(ctx, c, k, maxNames, of, func(entries []string) (fresh []string, last string) {
		if n := len(entries); n > 0 {
			last = entries[n-1]
		}
		return slices.DeleteFunc(entries, func(name string) bool {
			known := seen[name]
			seen[name] = true
			return known
		}), last
	})
}

// page is the JSON of one page. Each kind of list uses one of the fields.
type page struct {
	Tags         json.RawMessage `json:"tags"`
	Repositories json.RawMessage `json:"repositories"`
	Manifests    json.RawMessage `json:"manifests"`
}

// pages reads a list of at most limit entries, page by page. of returns the field of a page that
// contains its entries. merge takes the entries of a page; it returns those that are new, and the value
// of the query parameter last for the next page. If the list has no such parameter, the value is empty.
func pages[T any](ctx context.Context, c *Client, k *call, limit int, of func(page) json.RawMessage, merge func([]T) ([]T, string)) (all []T, err error) {
	k.want = []int{http.StatusOK}
	query := k.url.Query()
	query.Set("n", pageSize)
	k.url.RawQuery = query.Encode()
	asked := map[string]bool{}
	// left is how many bytes the remaining pages may have in total. known is the number of repeated
	// entries so far: they count towards limit.
	left, known := int64(maxList), 0
	for range maxPages {
		asked[k.url.RawQuery] = true
		before := len(all)
		var header http.Header
		var body []byte
		err := c.retryMismatch(ctx, k, func() (err error) {
			header, body, err = c.fetch(ctx, k, left)
			if errors.Is(err, errTooLong) {
				return k.fail(SideRegistry, ErrTooMany, fmt.Errorf("the pages of the list have more than %d bytes in total", maxList))
			}
			if err != nil {
				return err
			}
			if all, err = entries(all[:before], body, limit-known, of); err != nil {
				return k.fail(SideRegistry, causeAmong(err, ErrTooMany, ErrMismatch), fmt.Errorf("%w (%d bytes of %.60q)", err, len(body), mediaType(header)))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		count := len(all) - before
		fresh, last := merge(all[before:])
		all, known = all[:before+len(fresh)], known+count-len(fresh)
		next, err := nextQuery(asked, k.url.Query(), header.Values("Link"), count, len(fresh), last)
		if err != nil {
			return nil, k.fail(SideRegistry, ErrTooMany, err)
		}
		if next == "" {
			return all, nil
		}
		// The entries and the query of each page stay in memory, so they count.
		left -= int64(len(body) + len(next))
		k.url.RawQuery = next
	}
	return nil, k.fail(SideRegistry, ErrTooMany, fmt.Errorf("more than %d pages", maxPages))
}

// errCircle means that the pages of a list form a loop, so that the list has no end.
var errCircle = errors.New("the pages of the list form a loop")

// nextQuery returns the query for the next page, or "" after the last page. current is the query of
// this page, and asked contains the queries of this and all earlier pages. links are the Link headers
// of this page, count is the number of its entries, and fresh the number of its new entries. last is
// the name after which the next page starts, or "" if it is unknown.
//
// If a Link refers to a new page, its query is returned. If it refers to an earlier page, it shows
// only that more pages exist. Without a Link, another page is expected after a full page with new
// entries. A page without new entries is the last one, because the registry then seems to ignore n
// and last.
func nextQuery(asked map[string]bool, current url.Values, links []string, count, fresh int, last string) (string, error) {
	target, more := nextLink(links)
	if query := linkQuery(target); query != "" && !asked[query] {
		return query, nil
	}
	n, err := strconv.Atoi(current.Get("n"))
	if err != nil || n <= 0 {
		n, _ = strconv.Atoi(pageSize)
	}
	if !more && (count < n || fresh == 0) {
		return "", nil
	}
	if last == "" || fresh == 0 {
		if !more {
			return "", nil
		}
		return "", errCircle
	}
	query := url.Values{"n": {strconv.Itoa(n)}, "last": {last}}.Encode()
	if asked[query] {
		return "", errCircle
	}
	return query, nil
}

// entries decodes the entries of a page one by one and appends them to all. If all would exceed limit,
// it returns tooMany at once, because even a page of few bytes may have far too many entries.
func entries[T any](all []T, body []byte, limit int, of func(page) json.RawMessage) ([]T, error) {
	var p page
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, fmt.Errorf("malformed list: %w", err)
	}
	list := of(p)
	if len(list) == 0 {
		return nil, errors.New("malformed list: no entries")
	}
	if string(list) == "null" {
		return all, nil
	}
	d := json.NewDecoder(bytes.NewReader(list))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return nil, errors.New("malformed list: not an array")
	}
	for d.More() {
		if len(all) == limit {
			return nil, tooMany{limit}
		}
		var e T
		if err := d.Decode(&e); err != nil {
			return nil, fmt.Errorf("malformed list: %w", err)
		}
		all = append(all, e)
	}
	return all, nil
}

// tooMany means that a list has more than limit entries.
type tooMany struct{ limit int }

func (t tooMany) Error() string        { return fmt.Sprintf("more than %d entries", t.limit) }
func (t tooMany) Is(target error) bool { return target == ErrTooMany }
