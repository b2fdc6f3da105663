package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Options say what is looked at, and how it is reached.
type Options struct {
	URL   string // of the registry, as http://127.0.0.1:5000; a path before /v2/ may follow
	Image string // [HOST/]REPOSITORY[:TAG][@DIGEST]; empty leaves the steps of the content out

	Roots              *x509.CertPool    // authorities; nil is those of the system
	Certificates       []tls.Certificate // to show
	InsecureSkipVerify bool

	// Credentials finds the login for a registry, which is empty where there is none,
	// and says where it was found. It may be nil.
	Credentials func(ctx context.Context, host, repository string) (Login, error)

	HostsDir string        // certs.d; empty is where the containerd that runs here looks
	Proc     string        // /proc if empty
	Timeout  time.Duration // of each request; 10 seconds if 0
}

// Login is how to log in to a registry.
type Login struct {
	User, Password string
	IdentityToken  string // to be exchanged for others, in place of a password
	RegistryToken  string // to be shown as it is
	Source         string // where it was found
}

func (l Login) empty() bool { return l.User == "" && l.IdentityToken == "" && l.RegistryToken == "" }

const (
	requestTimeout = 10 * time.Second
	maxManifest    = 8 << 20 // as containerd takes at most
)

// doctor is one run.
type doctor struct {
	Options
	url    *url.URL // without a slash at its end
	image  image
	report *Report
	client *http.Client
	proxy  *url.URL // of the environment, for this URL; nil is none
	failed string   // the step that those behind it rest on

	api      answer        // of /v2/
	sent     time.Time     // when /v2/ was asked
	took     time.Duration // until it answered
	auth     string        // the Authorization header, once there is one
	manifest manifest      // of the image
	leaf     manifest      // the one with layers, for the blob
	reader   string        // the hosts.toml that leads to the registry, or should
}

// Run takes all steps. The error is one of the options: what is wrong with the
// registry or the node is in the report. It ends early with the context's error.
func Run(ctx context.Context, o Options) (*Report, error) {
	d, err := newDoctor(o)
	if err != nil {
		return nil, err
	}
	defer d.client.CloseIdleConnections()
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
		return nil, fmt.Errorf("URL %q: not of the form http://HOST:PORT or https://HOST:PORT", o.URL)
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
	d.client = &http.Client{Timeout: d.Timeout, Transport: d.transport()}
	return d, nil
}

// transport speaks HTTP/1.1 as containerd does, and asks for nothing encoded.
func (d *doctor) transport() *http.Transport {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:              http.ProxyFromEnvironment,
		TLSClientConfig:    d.tlsConfig(),
		DisableCompression: true,
		Protocols:          protocols,
	}
}

func (d *doctor) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: d.Roots, Certificates: d.Certificates, InsecureSkipVerify: d.InsecureSkipVerify,
	}
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
