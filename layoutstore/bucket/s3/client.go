package s3

import (
	"cmp"
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

// Options configures how a client reaches a store. The zero value reaches Amazon S3.
type Options struct {
	// Endpoint is a URL such as https://s3.example.com. Empty means Amazon S3.
	Endpoint string
	// Region is the region of the bucket. Empty means the value of AWS_REGION or
	// AWS_DEFAULT_REGION, or else us-east-1.
	Region string
	// PathStyle puts the bucket's name into the path of each URL instead of the host name. For
	// stores outside of the clouds that minio-go knows, the name is always in the path.
	PathStyle bool
	// CAFile is a PEM file with certificates to trust in addition to the system's.
	CAFile string
	// PublicEndpoint replaces Endpoint in presigned URLs, for clients that reach the store under a
	// different host name.
	PublicEndpoint string
	// Getenv reads an environment variable. nil means os.Getenv.
	Getenv func(string) string
	// Sleep waits between attempts. nil means that the real clock is used.
	Sleep func(context.Context, time.Duration) error
	// AfterFunc replaces time.AfterFunc, for tests of bodies that stall.
	AfterFunc func(time.Duration, func()) *time.Timer
	// Transport replaces the client's own transport, for tests.
	Transport http.RoundTripper
	// PartSize and Threshold, in bytes, replace the constants of package bucket in tests. 0 means
	// the constant.
	PartSize, Threshold int64
}

// Client sends requests to one store. All places opened with the client share its connections.
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

// NewClient makes a client without sending a request. It fails if an endpoint is not a valid URL,
// or if the certificates or credentials cannot be read.
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
	afterFunc := o.AfterFunc
	if afterFunc == nil {
		afterFunc = time.AfterFunc
	}
	creds, err := credentialsOf(getenv)
	if err != nil {
		return nil, err
	}
	region := cmp.Or(o.Region, getenv("AWS_REGION"), getenv("AWS_DEFAULT_REGION"), defaultRegion)
	options := minio.Options{Creds: creds, Transport: &stallTransport{transport, afterFunc}, Region: region, MaxRetries: 1}
	if o.PathStyle {
		options.BucketLookup = minio.BucketLookupPath
	}
	c := &Client{sleep: o.Sleep, partSize: cmp.Or(o.PartSize, bucket.PartSize), threshold: cmp.Or(o.Threshold, bucket.Threshold)}
	if c.sleep == nil {
		c.sleep = sleep
	}
	main, err := connect("--s3-endpoint", cmp.Or(o.Endpoint, defaultEndpoint), options)
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

// newTransport returns a transport that does not ask for compression. It limits the time until the
// header of a response arrives.
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
		return nil, fmt.Errorf("--s3-ca-file %s: the file contains no certificate", caFile)
	}
	t.TLSClientConfig.RootCAs = pool
	return t, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// attempts is how often a request is sent before its failure is final.
const attempts = 4

// retry calls request up to attempts times. It stops when request succeeds or fails permanently.
func (c *Client) retry(ctx context.Context, request func() error) error {
	pause := 100 * time.Millisecond
	for n := 1; ; n++ {
		err := request()
		if n == attempts || ctx.Err() != nil || !mayRetry(err) {
			return err
		}
		if c.sleep(ctx, pause) != nil {
			return err
		}
		pause *= 2
	}
}

// mayRetry reports whether a request has failed, and may succeed if it is sent again.
func mayRetry(err error) bool { return err != nil && isTemporary(err) && !errors.Is(err, errFinal) }

// errFinal marks an error after which the request must not be retried.
var errFinal = errors.New("final")
