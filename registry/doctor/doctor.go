package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

// Options select what to check, and how to reach it.
type Options struct {
	URL   string // of the registry, such as http://127.0.0.1:5000; may have a path, which precedes /v2/
	Image string // [HOST/]REPOSITORY[:TAG][@DIGEST]; empty: skip the steps about the content

	// Client configures which certificates to trust and to present, and how to log in. Its registry
	// and its number of retries are ignored.
	Client client.Options

	HostsDir string // certs.d; empty: the directories of the containerd that runs here
	Proc     string // /proc if empty
}

// ErrForm means that a URL or the name of an image is malformed.
var ErrForm = errors.New("not of the form")

const (
	requestTimeout = 10 * time.Second
	maxRedirects   = 5
)

// doctor is the state of one [Run].
type doctor struct {
	Options
	url    *url.URL // without a slash at its end
	image  image
	report *Report
	client *http.Client
	login  *client.Client // used only to log in
	proxy  *url.URL       // from the environment, for this URL; nil: no proxy
	failed string         // the failed step that later steps depend on

	api      answer        // of /v2/
	sent     time.Time     // when /v2/ was requested
	took     time.Duration // how long the answer took
	auth     string        // the Authorization header, once there is one
	manifest manifest      // of the image
	leaf     manifest      // the manifest whose blobs are checked
	hosts    string        // the hosts.toml that points to the registry, or should
}

// Run performs all steps. The error is about the options, such as [ErrForm] or an
// unreadable certificate: problems of the registry or the node are in the report. If the
// context ends, Run returns its error.
func Run(ctx context.Context, o Options) (*Report, error) {
	d, err := newDoctor(o)
	if err != nil {
		return nil, err
	}
	defer d.login.Close()
	for _, step := range []struct {
		name   string
		check  func(context.Context) Step
		always bool // it depends on no other step
	}{
		{"name", d.lookUp, false},
		{"connection", d.connect, false},
		{"tls", d.shakeHands, false},
		{"api", d.askAPI, false},
		{"credentials", d.logIn, false},
		{"clock", d.compareClocks, false},
		{"content", d.readWarnings, false},
		{"tag", d.resolveTag, false},
		{"manifest", d.fetchManifest, false},
		{"child", d.fetchChildren, false},
		{"blob", d.fetchBlobs, false},
		{"hosts.toml", d.readHosts, true},
		{"containerd", d.examineDaemons, true},
	} {
		s := Step{State: Skipped, Detail: "depends on " + d.failed}
		if d.failed == "" || step.always {
			s = step.check(ctx)
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
	u.Host = strings.TrimSuffix(u.Host, ":") // as http.NewRequest does
	d := &doctor{Options: o, url: u, report: &Report{URL: u.String(), Image: o.Image, State: OK}}
	if o.Image != "" {
		if d.image, err = parseImage(o.Image); err != nil {
			return nil, err
		}
	}
	d.Proc = cmp.Or(d.Proc, "/proc")
	if d.proxy, err = http.ProxyFromEnvironment(&http.Request{URL: u}); err != nil {
		return nil, fmt.Errorf("proxy of the environment: %w", err)
	}
	o.Client.Registry, o.Client.Retries, o.Client.Silence = u.Host, -1, requestTimeout
	if d.login, err = client.New(o.Client); err != nil {
		return nil, err
	}
	d.client = &http.Client{Timeout: requestTimeout, Transport: d.login.Transport(), CheckRedirect: d.checkRedirect}
	return d, nil
}

// checkRedirect allows all redirects, as containerd does, but sends the login only to the
// registry.
func (d *doctor) checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	for _, r := range append(via, req) {
		if !client.SameHost(d.url, r.URL) { // a redirect from there back to the registry gets no login either
			req.Header.Del("Authorization")
		}
	}
	return nil
}

// address returns the host and the port of the URL.
func (d *doctor) address() string {
	if d.url.Port() != "" {
		return d.url.Host
	}
	if d.url.Scheme == "http" {
		return d.url.Host + ":80"
	}
	return d.url.Host + ":443"
}
