package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

// Options say what is looked at, and how it is reached.
type Options struct {
	URL   string // of the registry, as http://127.0.0.1:5000; a path before /v2/ may follow
	Image string // [HOST/]REPOSITORY[:TAG][@DIGEST]; empty leaves the steps of the content out

	// Client says which certificates are trusted and shown, and how to log in. Which
	// registry it is, and how often a request is tried, is not for it to say.
	Client client.Options

	HostsDir string        // certs.d; empty is where the containerd that runs here looks
	Proc     string        // /proc if empty
	Timeout  time.Duration // of each request; 10 seconds if 0
}

// ErrForm says of an URL or the name of an image that it is none.
var ErrForm = errors.New("not of the form")

const (
	requestTimeout = 10 * time.Second
	maxManifest    = 8 << 20 // as containerd takes at most
	maxRedirects   = 5
)

// doctor is one run.
type doctor struct {
	Options
	url    *url.URL // without a slash at its end
	image  image
	report *Report
	client *http.Client
	login  *client.Client // logs in, and does nothing else
	proxy  *url.URL       // of the environment, for this URL; nil is none
	failed string         // the step that those behind it rest on

	api      answer        // of /v2/
	sent     time.Time     // when /v2/ was asked
	took     time.Duration // until it answered
	auth     string        // the Authorization header, once there is one
	manifest manifest      // of the image
	leaf     manifest      // the one with layers, for the blob
	reader   string        // the hosts.toml that leads to the registry, or should
}

// Run takes all steps. The error is one of the options, as [ErrForm] or that of a
// certificate's file: what is wrong with the registry or the node is in the report. It
// ends early with the context's error.
func Run(ctx context.Context, o Options) (*Report, error) {
	d, err := newDoctor(o)
	if err != nil {
		return nil, err
	}
	defer d.login.Close()
	for _, step := range []struct {
		name   string
		look   func(context.Context) Step
		always bool // it rests on no other
	}{
		{stepName, d.lookUp, false},
		{stepConnection, d.connect, false},
		{stepTLS, d.shakeHands, false},
		{stepAPI, d.askAPI, false},
		{stepCredentials, d.logIn, false},
		{stepClock, d.compareClocks, false},
		{stepTag, d.resolveTag, false},
		{stepManifest, d.fetchManifest, false},
		{stepChild, d.fetchChildren, false},
		{stepBlob, d.fetchBlobs, false},
		{stepHosts, d.readHosts, true},
		{stepContainerd, d.examineDaemons, true},
	} {
		s := Step{State: Skipped, Detail: "rests on " + d.failed}
		if d.failed == "" || step.always {
			s = step.look(ctx)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s.Name = step.name
		if s.State == Failed && d.failed == "" && !step.always {
			d.failed = step.name
		}
		d.report.add(s)
	}
	return d.report, nil
}

func newDoctor(o Options) (*doctor, error) {
	u, err := url.Parse(strings.TrimRight(o.URL, "/"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" {
		return nil, fmt.Errorf("URL %q: %w http://HOST:PORT or https://HOST:PORT", o.URL, ErrForm)
	}
	u.Path = strings.TrimSuffix(u.Path, "/v2")
	d := &doctor{Options: o, url: u, report: &Report{URL: u.String(), Image: o.Image, State: OK}}
	if o.Image != "" {
		if d.image, err = parseImage(o.Image); err != nil {
			return nil, err
		}
	}
	if d.Proc == "" {
		d.Proc = "/proc"
	}
	if d.Timeout == 0 {
		d.Timeout = requestTimeout
	}
	if d.proxy, err = http.ProxyFromEnvironment(&http.Request{URL: u}); err != nil {
		return nil, fmt.Errorf("proxy of the environment: %w", err)
	}
	o.Client.Registry, o.Client.Retries, o.Client.Silence = u.Host, -1, d.Timeout
	if d.login, err = client.New(o.Client); err != nil {
		return nil, err
	}
	d.client = &http.Client{Timeout: d.Timeout, Transport: d.login.Transport(), CheckRedirect: d.checkRedirect}
	return d, nil
}

// checkRedirect follows anywhere, as containerd does, but shows the login to the
// registry alone.
func (d *doctor) checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	for _, r := range append(via, req) {
		if !client.SameHost(d.url, r.URL) { // and what leads elsewhere does not lead back to it
			req.Header.Del("Authorization")
		}
	}
	return nil
}

// address is host and port.
func (d *doctor) address() string {
	if d.url.Port() != "" {
		return d.url.Host
	}
	if d.url.Scheme == "http" {
		return d.url.Host + ":80"
	}
	return d.url.Host + ":443"
}
