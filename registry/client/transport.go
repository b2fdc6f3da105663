package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// newTransport makes the transport that all requests share. It uses HTTP/1.1. With HTTP/2, all
// transfers would share one connection, and fail together if it is cut.
func (o *Options) newTransport() (*http.Transport, error) {
	tlsConfig, err := o.tlsConfig()
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: min(30*time.Second, o.Silence), KeepAlive: 30 * time.Second}
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                 o.Proxy,
		DialContext:           dialer.DialContext,
		TLSClientConfig:       tlsConfig,
		TLSHandshakeTimeout:   min(30*time.Second, o.Silence),
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       time.Minute,
		MaxIdleConnsPerHost:   o.Jobs + 2,
		DisableCompression:    true,
		Protocols:             protocols,
		WriteBufferSize:       64 << 10,
		ReadBufferSize:        64 << 10,
	}, nil
}

// maxCAFile limits the size of a certificate file, in bytes. The largest common lists of
// authorities have about 250 KB.
const maxCAFile = 16 << 20

func (o *Options) tlsConfig() (*tls.Config, error) {
	c := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: o.InsecureSkipVerify,
	}
	if o.CAFile != "" {
		pem, err := plainfile.Read(o.CAFile, maxCAFile)
		if err != nil {
			return nil, fmt.Errorf("CA file: %w", err)
		}
		// The system's authorities remain trusted, because a redirect may lead to a public host.
		c.RootCAs, err = x509.SystemCertPool()
		if err != nil {
			c.RootCAs = x509.NewCertPool()
		}
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA file: no PEM certificate in %s", o.CAFile)
		}
	}
	if o.CertFile == "" && o.KeyFile == "" {
		return c, nil
	}
	if o.CertFile == "" || o.KeyFile == "" {
		return nil, errors.New("a client certificate and its key must be given together")
	}
	cert, err := plainfile.ReadKeyPair(o.CertFile, o.KeyFile, maxCAFile)
	if err != nil {
		return nil, fmt.Errorf("client certificate: %w", err)
	}
	c.Certificates = []tls.Certificate{cert}
	return c, nil
}
