package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/daemon"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

type statusFlags struct {
	settings.Upstream
	watch bool
}

// defaultAdmin is the URL of the admin address if the server has no --admin-listen.
const defaultAdmin = "http://127.0.0.1:5580"

func newStatus(c *console.Output) *cobra.Command {
	var flags statusFlags
	cmd := &cobra.Command{
		Use:   "status [URL]",
		Short: "Print what a running layoutproxy serves, imports and cannot serve",
		Long: `Print the state of a running layoutproxy: its sources, its problems grouped by cause, its imports
with their rate and remaining time, and its prunes. URL is the admin address of the server,
by default ` + defaultAdmin + `. A server with --admin-htpasswd needs a login. For a server
with --admin-tls-cert, the URL begins with https://.

The exit status is 0 if there are no problems, or only problems that affect no content, such as
conflicts. It is 3 if there are other problems, and 1 if the server cannot be reached. With
--watch, status prints again every two seconds until Ctrl-C, and exits with 0.`,
		Example: `  layoutproxy status
  layoutproxy status --watch
  layoutproxy status http://127.0.0.1:5580 --output json
  layoutproxy status https://proxy.example:5580 --username ann --password-stdin <password`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			address := defaultAdmin
			if len(args) > 0 {
				address = args[0]
			}
			return showStatus(cmd.Context(), c, &flags, address, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	flags.AddLoginFlags(cmd.Flags())
	flags.UserAgent = userAgent()
	cmd.Flags().BoolVar(&flags.watch, "watch", false, "print again every two seconds until Ctrl-C")
	return cmd
}

// showStatus prints the status once or, with --watch, again and again until a signal.
func showStatus(ctx context.Context, c *console.Output, flags *statusFlags, address string, stdin io.Reader, stdout io.Writer) error {
	target, err := statusURL(address)
	if err != nil {
		return err
	}
	server, err := newStatusClient(&flags.Upstream, target, stdin)
	if err != nil {
		return err
	}
	ctx, stop := exit.OnSignal(ctx)
	defer stop()
	for {
		s, text, err := server.fetch(ctx)
		if flags.watch && ctx.Err() != nil {
			return nil
		}
		if exit.Hint(err) != "" {
			return err
		}
		if err != nil {
			return exit.WithHint(err, "check that layoutproxy serve is running, and name its admin address (--admin-listen): layoutproxy status http://HOST:PORT")
		}
		if flags.watch && console.IsTerminal(stdout) {
			fmt.Fprint(stdout, console.ClearScreen)
		}
		if err := c.Print(stdout, text, func(w io.Writer) error { return printStatus(w, s, target.Host) }); err != nil {
			return err
		}
		if !flags.watch {
			return statusError(s)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(2 * time.Second):
		}
	}
}

// statusURL returns the URL of /status for an admin address.
func statusURL(address string) (*url.URL, error) {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(strings.TrimSuffix(strings.TrimRight(address, "/"), "/status"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, exit.UsageError(exit.WithHint(fmt.Errorf("%q: malformed URL", address), "write a URL such as http://127.0.0.1:5580"))
	}
	return u.JoinPath("status"), nil
}

// statusWait is how long the server may take to answer. The server itself may wait two seconds for
// a disk.
const statusWait = 30 * time.Second

// maxStatus is how many bytes of an answer are read.
const maxStatus = 256 << 20

// fetch requests the status. text is the document before parsing.
func (c *statusClient) fetch(ctx context.Context) (s *daemon.Status, text json.RawMessage, err error) {
	ctx, cancel := context.WithTimeout(ctx, statusWait)
	defer cancel()
	target := c.target
	resp, err := c.get(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusUnauthorized {
		return nil, nil, c.refused()
	}
	if resp.StatusCode != http.StatusOK {
		return nil, nil, c.unexpected(resp)
	}
	text, err = io.ReadAll(io.LimitReader(resp.Body, maxStatus))
	if err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", target, err)
	}
	s, ok := parseStatus(text)
	if !ok {
		return nil, nil, fmt.Errorf("%s: the answer is not the status of a layoutproxy", target)
	}
	return s, text, nil
}

func parseStatus(text []byte) (s *daemon.Status, ok bool) {
	s = &daemon.Status{}
	return s, json.Unmarshal(text, s) == nil && s.Generation > 0
}

// statusClient requests the status of a server from its admin address.
type statusClient struct {
	target *url.URL
	http   *http.Client
	login  client.Credential // login of the user; the zero value means no login
	asked  bool              // whether the server has asked for a login
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
		// Follow no redirects: they may lead to another server, and the login is only for this one.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// get requests the status. It sends the login only after the server has asked for one.
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

// refused returns the error for a server that refuses the request or the login.
func (c *statusClient) refused() error {
	if c.login.Username == "" {
		return exit.WithHint(errors.New(c.target.String()+" requires a login"), "give a login with --username and --password-stdin, or in LAYOUTPROXY_USERNAME and LAYOUTPROXY_PASSWORD")
	}
	return exit.WithHint(fmt.Errorf("%s refuses the login of %s", c.target, c.login.Username), "compare the name and the password with the file of --admin-htpasswd on the server")
}

// unexpected returns the error for an answer that contains no status.
func (c *statusClient) unexpected(resp *http.Response) error {
	switch {
	case resp.StatusCode == http.StatusMisdirectedRequest:
		return exit.WithHint(fmt.Errorf("%s answers %s: it does not accept this host name", c.target, resp.Status),
			"name the IP address of the server, make the proxy in front of it send Host: 127.0.0.1:5580, or set --admin-htpasswd on the server")
	case resp.StatusCode == http.StatusTooManyRequests && resp.Header.Get("Docker-Distribution-Api-Version") == "": // a registry address, which may limit requests, sends this header
		return exit.WithHint(fmt.Errorf("%s answers %s: it is checking too many passwords", c.target, resp.Status), "try again in a few seconds")
	case resp.StatusCode == http.StatusBadRequest && c.target.Scheme == "http":
		return exit.WithHint(fmt.Errorf("%s answers %s to a request without TLS", c.target, resp.Status), "if the server has --admin-tls-cert, use https://")
	}
	return fmt.Errorf("%s answers %s: this is not the admin address of a layoutproxy", c.target, resp.Status)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
