package client_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	mathbig "math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

func overTLS(o *client.Options) { o.PlainHTTP = false }

// caFile writes the certificate of a server to a file that can be used as Options.CAFile.
func caFile(t *testing.T, r *registrytest.Registry) string {
	t.Helper()
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw})
	return writeFile(t, string(block), t.TempDir(), "ca.pem")
}

func TestTLSCertificates(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{TLS: true})
	wantCause(t, dial(t, r, overTLS).Ping(t.Context()), client.ErrCertificate)
	image(t, dial(t, r, overTLS, func(o *client.Options) { o.CAFile = caFile(t, r) }), "x", "v1")
	image(t, dial(t, r, overTLS, func(o *client.Options) { o.InsecureSkipVerify = true }), "x", "v1")
	e := failure(t, dial(t, r).Ping(t.Context()), client.ErrRefused) // plain HTTP
	if !strings.Contains(e.Error(), "speaks TLS") {
		t.Errorf("for plain HTTP to a TLS server, the error is %v, want \"speaks TLS\" in it", e)
	}
}

func TestClientCertificates(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{TLS: true, ClientCertificates: true})
	ca := func(o *client.Options) { overTLS(o); o.CAFile = caFile(t, r) }
	if err := dial(t, r, ca).Ping(t.Context()); err == nil {
		t.Error("a client without a certificate got no error, want the server to refuse it")
	}
	cert, key := certificate(t)
	image(t, dial(t, r, ca, func(o *client.Options) { o.CertFile, o.KeyFile = cert, key }), "x", "v1")
}

func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: mathbig.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	bytes, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert = writeFile(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), dir, "cert.pem")
	key = writeFile(t, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: bytes})), dir, "key.pem")
	return cert, key
}

func TestUnreadableCertificates(t *testing.T) {
	junk := writeFile(t, "junk", t.TempDir(), "junk.pem")
	for name, o := range map[string]client.Options{
		"no ca":     {CAFile: filepath.Join(t.TempDir(), "none")},
		"junk ca":   {CAFile: junk},
		"no key":    {CertFile: junk},
		"junk cert": {CertFile: junk, KeyFile: junk},
	} {
		o.Registry = "a.example"
		if _, err := client.New(o); err == nil {
			t.Errorf("%s: New returned no error, want one", name)
		}
	}
}

// Plain HTTP must be allowed explicitly, unless the registry is on this machine.
func TestPlainHTTP(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	image(t, dial(t, r, overTLS), "x", "v1")
	// This proxy connects the name of a remote registry to the registry on this machine.
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodConnect {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		req.URL.Host = ""
		r.ServeHTTP(w, req)
	}))
	defer proxy.Close()
	through := func(o *client.Options) {
		o.Registry = "registry.example:5000"
		o.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse(proxy.URL) }
	}
	image(t, dial(t, r, through), "y", "v1")
	if err := dial(t, r, overTLS, through).Ping(t.Context()); err == nil {
		t.Error("Ping with TLS through the proxy succeeded, want an error, because the proxy refuses CONNECT")
	}
}
