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

// Options determines what to check, and how to reach it.
type Options struct {
	// URL is the URL of the registry, such as http://127.0.0.1:5000. It may have a path, which
	// precedes /v2/.
	URL string
	// Image is [HOST/]REPOSITORY[:TAG][@DIGEST]. Without it, tag, manifest, child and blob are not checked.
	Image string

	// Client configures which certificates to trust, which client certificate to use, and how to
	// log in. Its Registry, Retries and Silence are ignored.
	Client client.Options

	// HostsDir is the certs.d directory. "" means the directories that the containerds on this machine
	// read, or the default directory without a containerd.
	HostsDir string
	// Proc is the directory to read instead of /proc. "" means /proc itself.
	Proc string
}

// ErrForm means that a URL or an image name is malformed.
var ErrForm = errors.New("not of the form")

const (
	requestTimeout = 10 * time.Second
	maxRedirects   = 5
)

// doctor is the state of one call of [Run].
type doctor struct {
	Options
	// url has no slash at its end.
	url    *url.URL
	image  image
	report *Report
	client *http.Client
	login  *client.Client
	// proxy is the proxy for requests to the registry, as set by the environment; nil means none.
	proxy *url.URL
	// failed is the name of the failed step that later steps depend on.
	failed string

	// api is the answer to the request for /v2/.
	api answer
	// sent is when /v2/ was requested.
	sent time.Time
	// took is how long the answer to the request for /v2/ took.
	took time.Duration
	// auth is the Authorization header. It is empty until a login was computed.
	auth     string
	manifest manifest
	// leaf is the manifest whose blobs are checked.
	leaf manifest
	// hosts is the hosts.toml that points to the registry, or should point to it.
	hosts string
}

// Run performs all steps and reports the result of each. Problems of the registry or of the node
// are in the report. Run returns an error only if an option (see [ErrForm]) or the environment's
// proxy is invalid, or if the context ends.
func Run(ctx context.Context, o Options) (*Report, error) {
	d, err := newDoctor(o)
	if err != nil {
		return nil, err
	}
	defer d.login.Close()
	for _, step := range []struct {
		name   string
		check  func(context.Context) Step
		always bool // the step does not depend on earlier steps
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
	u.Host = strings.TrimSuffix(u.Host, ":") // http.NewRequest also drops an empty port
	d := &doctor{Options: o, url: u, report: &Report{URL: u.String(), Image: o.Image, State: OK}}
	if o.Image != "" {
		if d.image, err = parseImage(o.Image); err != nil {
			return nil, err
		}
	}
	d.Proc = cmp.Or(d.Proc, "/proc")
	if d.proxy, err = http.ProxyFromEnvironment(&http.Request{URL: u}); err != nil {
		return nil, fmt.Errorf("proxy from the environment: %w", err)
	}
	o.Client.Registry, o.Client.Retries, o.Client.Silence = u.Host, -1, requestTimeout
	if d.login, err = client.New(o.Client); err != nil {
		return nil, err
	}
	d.client = &http.Client{Timeout: requestTimeout, Transport: d.login.Transport(), CheckRedirect: d.checkRedirect}
	return d, nil
}

// checkRedirect allows all redirects, as containerd does. It removes the login once the request was
// redirected to another host.
func (d *doctor) checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	for _, r := range append(via, req) {
		if !client.SameHost(d.url, r.URL) { // if an earlier URL was on another host, even a redirect back to the registry gets no login
			req.Header.Del("Authorization")
		}
	}
	return nil
}

func (d *doctor) address() string {
	if d.url.Port() != "" {
		return d.url.Host
	}
	if d.url.Scheme == "http" {
		return d.url.Host + ":80"
	}
	return d.url.Host + ":443"
}
