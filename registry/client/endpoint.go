package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// call prepares a call to the URL path /v2/REPOSITORY/KIND/REFERENCE. kind is, for example,
// "manifests". It returns the errors of [Client.Ping].
func (c *Client) call(ctx context.Context, op, method, repository, kind, reference string) (*call, error) {
	if err := c.Ping(ctx); err != nil {
		return nil, err
	}
	target := *c.base.Load()
	target.Path += strings.Join([]string{repository, kind, reference}, "/")
	k := &call{op: op, method: method, url: &target, repository: repository, reference: reference, header: http.Header{}}
	k.scopes = []string{c.scope(repository, method)}
	return k, nil
}

// scope returns the scope that a token needs for requests to a repository with the given method.
func (c *Client) scope(repository, method string) string {
	actions := "pull"
	if c.options.Push || method != http.MethodGet && method != http.MethodHead {
		actions = "pull,push"
	}
	if method == http.MethodDelete { // distribution requires the action "delete" even to cancel an upload
		actions = "pull,push,delete"
	}
	return "repository:" + repository + ":" + actions
}

// fetch sends a call and reads the body of the answer, of at most limit bytes. If the body is
// truncated, fetch sends the call again. If it is longer than limit, the error wraps errTooLong.
func (c *Client) fetch(ctx context.Context, k *call, limit int64) (header http.Header, body []byte, err error) {
	var f failures
	for {
		resp, err := c.do(ctx, k)
		if err != nil {
			return nil, nil, err
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
		resp.Body.Close()
		if err == nil && int64(len(body)) > limit {
			return nil, nil, k.fail(SideRegistry, ErrMismatch, fmt.Errorf("%w than %d bytes", errTooLong, limit))
		}
		if err == nil {
			return resp.Header, body, nil
		}
		if err := c.pause(ctx, &f, c.cut(k, resp, err), k.once); err != nil {
			return nil, nil, err
		}
	}
}

var errTooLong = errors.New("the answer is longer")

// cut returns the error for a truncated answer.
func (c *Client) cut(k *call, resp *http.Response, err error) error {
	if errors.Is(context.Cause(resp.Request.Context()), ErrStalled) {
		err = ErrStalled
	}
	return c.broken(k, resp.Request.URL, err)
}
