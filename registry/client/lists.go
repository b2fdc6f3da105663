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
	// maxList bounds a list in bytes, all of its pages together, maxNames and maxReferrers
	// in entries, and maxPages in pages, some of which may be empty: a registry whose pages
	// lead on for ever shall not take all memory, nor all time.
	maxList      = 32 << 20
	maxNames     = 1 << 20
	maxReferrers = 1 << 16
	maxPages     = 10_000
	pageSize     = "1000"
)

// Tags are all tags of a repository, in the registry's order, each once. Errors: *Error,
// with ErrNotFound where the registry does not know the repository, with ErrTooMany.
func (c *Client) Tags(ctx context.Context, repository string) ([]string, error) {
	k, err := c.call(ctx, "list tags", http.MethodGet, repository, "tags", "list")
	if err != nil {
		return nil, err
	}
	k.reference = ""
	return listNames(ctx, c, k, func(p page) json.RawMessage { return p.Tags })
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
	return listNames(ctx, c, k, func(p page) json.RawMessage { return p.Repositories })
}

// listNames reads a list of names, each of which is given once: where the registry does not
// say where to go on, a page may begin again.
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

// page is a page of any of the lists.
type page struct {
	Tags         json.RawMessage `json:"tags"`
	Repositories json.RawMessage `json:"repositories"`
	Manifests    json.RawMessage `json:"manifests"`
}

// pages reads a list of at most limit entries page by page. of is what holds the entries
// of a page; merge makes of them those that are new, and what the next page comes after,
// which is empty for a list that cannot be asked so.
func pages[T any](ctx context.Context, c *Client, k *call, limit int, of func(page) json.RawMessage, merge func([]T) ([]T, string)) (all []T, err error) {
	k.want = []int{http.StatusOK}
	query := k.url.Query()
	query.Set("n", pageSize)
	k.url.RawQuery = query.Encode()
	asked := map[string]bool{}
	left, known := int64(maxList), 0 // bytes; entries that came again, which count too
	for range maxPages {
		asked[k.url.RawQuery] = true
		before := len(all)
		var a answer
		err := c.insist(ctx, k, func() (err error) {
			a, err = c.fetch(ctx, k, left)
			if errors.Is(err, errTooLong) {
				return k.fail(SideRegistry, ErrTooMany, fmt.Errorf("all of its pages have more than %d bytes", maxList))
			}
			if err != nil {
				return err
			}
			if all, err = entries(all[:before], a.body, limit-known, of); err != nil {
				return k.fail(SideRegistry, causeAmong(err, ErrTooMany, ErrMismatch), fmt.Errorf("%w (%d bytes of %.60q)", err, len(a.body), mediaType(a.header)))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		count := len(all) - before
		fresh, last := merge(all[before:])
		all, known = all[:before+len(fresh)], known+count-len(fresh)
		next, err := nextQuery(asked, k.url.Query(), a.header.Values("Link"), count, len(fresh), last)
		if err != nil {
			return nil, k.fail(SideRegistry, ErrTooMany, err)
		}
		if next == "" {
			return all, nil
		}
		// What is kept of a page is its entries and its query.
		left -= int64(len(a.body) + len(next))
		k.url.RawQuery = next
	}
	return nil, k.fail(SideRegistry, ErrTooMany, fmt.Errorf("more than %d pages", maxPages))
}

// errCircle says that a list has no end.
var errCircle = errors.New("its pages lead in a circle")

// nextQuery is the query of the page behind one that was asked by current, and empty
// behind the last one. links are the Link headers of the page, count its entries, fresh
// those of them that no page had before, last the name that a further page comes after.
// A Link is followed whenever there is one; one that leads nowhere new says only that
// there is more. Without one, a full page is not the last, unless nothing in it is new:
// such a registry takes no notice of n and last.
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

// entries appends those of a page, one by one: few bytes may hold many.
func entries[T any](all []T, body []byte, limit int, of func(page) json.RawMessage) ([]T, error) {
	var p page
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, fmt.Errorf("the list is no JSON of one: %w", err)
	}
	list := of(p)
	if len(list) == 0 {
		return nil, errors.New("the list is no JSON of one: it names no entries")
	}
	if string(list) == "null" {
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
