package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// statusClient requests the status from an admin address.
type statusClient struct {
	target *url.URL
	http   *http.Client
	login  client.Credential // zero without one
	asked  bool              // whether the server requires the login
}

func newStatusClient(flags *settings.Upstream, target *url.URL, stdin io.Reader) (*statusClient, error) {
	options, err := flags.Options(stdin)
	if err != nil {
		return nil, err
	}
	options.Registry = target.Host
	transport, err := client.New(options)
	if err != nil {
		return nil, err
	}
	return &statusClient{target: target, login: options.Credential, http: &http.Client{
		Transport: transport.Transport(),
		// A redirect leads to another server, and the login is for this one.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// get requests the status. It sends the login only to a server that requires one.
func (c *statusClient) get(ctx context.Context) (*http.Response, error) {
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.target.String(), nil)
		if err != nil {
			return nil, err
		}
		if c.asked {
			req.SetBasicAuth(c.login.Username, c.login.Password)
		}
		resp, err := c.http.Do(req)
		if err != nil || resp.StatusCode != http.StatusUnauthorized || c.asked || c.login.Username == "" {
			return resp, err
		}
		resp.Body.Close()
		if c.target.Scheme == "http" && !isLoopback(c.target.Hostname()) {
			return nil, exit.WithHint(fmt.Errorf("%s: the login would be sent unencrypted", c.target), "give the server a certificate (--admin-tls-cert) and use https://, or ask through a tunnel: ssh -L 5580:127.0.0.1:5580 HOST")
		}
		c.asked = true
	}
}

// refused returns the error for a server that requires another login.
func (c *statusClient) refused() error {
	if c.login.Username == "" {
		return exit.WithHint(errors.New(c.target.String()+" requires a login"), "pass it with --username and --password-stdin, or in LAYOUTPROXY_USERNAME and LAYOUTPROXY_PASSWORD")
	}
	return exit.WithHint(fmt.Errorf("%s refuses the login of %s", c.target, c.login.Username), "check the name and the password against the server's --admin-htpasswd")
}

// isLoopback reports whether a host is this machine.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
