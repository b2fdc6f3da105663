package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
)

// Options say how a store is reached. The zero value reaches Amazon's.
type Options struct {
	// Endpoint is a URL as https://s3.example.com, or Amazon's if it is empty.
	Endpoint string
	// Region is that of the bucket; if it is empty, that of AWS_REGION or AWS_DEFAULT_REGION, or us-east-1.
	Region string
	// PathStyle names the bucket in the path of a request, not in its host. A store that is not of a known cloud is
	// asked in that way anyhow.
	PathStyle bool
	// CAFile is a file of certificates in PEM that are trusted beside the system's.
	CAFile string
	// PublicEndpoint is the URL that presigned URLs begin with, where clients reach the store by another name.
	PublicEndpoint string
	// Getenv reads the environment; nil is os.Getenv.
	Getenv func(string) string
	// Sleep waits between attempts; nil waits on the real clock.
	Sleep func(context.Context, time.Duration) error
	// Transport overrides the one that the client makes, for tests.
	Transport http.RoundTripper
	// PartSize and Threshold override the bytes of a part, and those above which an object is uploaded in parts, for tests.
	PartSize, Threshold int64
}

// Client makes requests to one store. All that it opens share its connections.
type Client struct {
	core      *minio.Core
	signer    *minio.Client
	sleep     func(context.Context, time.Duration) error
	partSize  int64
	threshold int64
}

const (
	defaultEndpoint = "https://s3.amazonaws.com"
	defaultRegion   = "us-east-1"
)

// NewClient makes a client. It sends no request. An error is one of the options or of the environment: an illegal URL, a file
// of certificates or credentials that cannot be read.
func NewClient(o Options) (*Client, error) {
	getenv := o.Getenv
	if getenv == nil {
		getenv = os.Getenv
	}
	transport := o.Transport
	if transport == nil {
		var err error
		if transport, err = newTransport(o.CAFile); err != nil {
			return nil, err
		}
	}
	creds, err := credentialsOf(getenv)
	if err != nil {
		return nil, err
	}
	options := minio.Options{Creds: creds, Transport: transport, Region: region(o.Region, getenv), MaxRetries: 1}
	if o.PathStyle {
		options.BucketLookup = minio.BucketLookupPath
	}
	c := &Client{sleep: o.Sleep, partSize: or(o.PartSize, bucket.PartSize), threshold: or(o.Threshold, bucket.Threshold)}
	if c.sleep == nil {
		c.sleep = sleep
	}
	main, err := connect("--s3-endpoint", orText(o.Endpoint, defaultEndpoint), options)
	if err != nil {
		return nil, err
	}
	c.core = &minio.Core{Client: main}
	c.signer = main
	if o.PublicEndpoint != "" {
		c.signer, err = connect("--s3-public-endpoint", o.PublicEndpoint, options)
	}
	return c, err
}

func connect(flag, endpoint string, options minio.Options) (*minio.Client, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil ||
		(u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%s: not a URL of the form https://HOST:PORT", flag)
	}
	options.Secure = u.Scheme == "https"
	client, err := minio.New(u.Host, &options)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", flag, endpoint, err)
	}
	return client, nil
}

func region(flag string, getenv func(string) string) string {
	return orText(flag, orText(getenv("AWS_REGION"), orText(getenv("AWS_DEFAULT_REGION"), defaultRegion)))
}

// newTransport is one without compression, and with bounds on everything that comes before a body.
func newTransport(caFile string) (*http.Transport, error) {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		MaxIdleConns:          256,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       time.Minute,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		DisableCompression:    true,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if caFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("--s3-ca-file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--s3-ca-file %s: no certificate in it", caFile)
	}
	t.TLSClientConfig.RootCAs = pool
	return t, nil
}

func or(n, otherwise int64) int64 {
	if n == 0 {
		return otherwise
	}
	return n
}

func orText(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// attempts bounds how often a request is sent that fails in passing.
const attempts = 4

// retry calls request until it succeeds, fails for good, or has been called often enough.
func (c *Client) retry(ctx context.Context, request func() error) error {
	pause := 100 * time.Millisecond
	for n := 1; ; n++ {
		err := request()
		if err == nil || n == attempts || ctx.Err() != nil || !passing(err) || errors.Is(err, errFinal) {
			return err
		}
		if c.sleep(ctx, pause) != nil {
			return err
		}
		pause *= 2
	}
}

// errFinal marks an error after which a request must not be sent again.
var errFinal = errors.New("final")
