package client_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	mathbig "math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

// world is a network of hosts behind a proxy, over plain HTTP and TLS. It records each request
// that arrives at a host.
type world struct {
	answer func(w http.ResponseWriter, r *http.Request, at string)
	proxy  *url.URL
	caFile string

	mu   sync.Mutex
	hops []hop
}

type hop struct {
	at     string // scheme, host and port, such as https://registry.example:443
	path   string
	query  url.Values
	header http.Header
	body   string
}

// newWorld makes a network with the given hosts. Its TLS certificate is valid for all of them.
func newWorld(t *testing.T, hosts ...string) *world {
	t.Helper()
	w := &world{}
	secure := httptest.NewUnstartedServer(w)
	certificate, ca := hostCertificate(t, hosts)
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	w.caFile = writeFile(t, ca, t.TempDir(), "ca.pem")
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			w.ServeHTTP(rw, r)
			return
		}
		tunnel(rw, secure.Listener.Addr().String())
	}))
	t.Cleanup(proxy.Close)
	w.proxy, _ = url.Parse(proxy.URL)
	return w
}

func tunnel(w http.ResponseWriter, address string) {
	there, err := net.Dial("tcp", address)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	w.WriteHeader(http.StatusOK)
	here, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		there.Close()
		return
	}
	go func() {
		_, _ = io.Copy(there, buffered)
		there.Close()
	}()
	_, _ = io.Copy(here, there)
	here.Close()
}

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	at := &url.URL{Scheme: "http", Host: r.Host}
	port := "80"
	if r.TLS != nil {
		at.Scheme, port = "https", "443"
	}
	if at.Port() == "" {
		at.Host += ":" + port
	}
	body, _ := io.ReadAll(r.Body)
	w.mu.Lock()
	w.hops = append(w.hops, hop{at.String(), r.URL.Path, r.URL.Query(), r.Header.Clone(), string(body)})
	w.mu.Unlock()
	w.answer(rw, r, at.String())
}

func (w *world) seen() []hop {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]hop(nil), w.hops...)
}

func (w *world) client(t *testing.T, registry, scheme string, credential client.Credential) *client.Client {
	t.Helper()
	c, err := client.New(client.Options{
		Registry: registry, PlainHTTP: scheme == "http", CAFile: w.caFile, Credential: credential,
		Proxy: func(*http.Request) (*url.URL, error) { return w.proxy, nil }, Retries: -1, FirstPause: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// hostCertificate returns a certificate for hosts, and the same certificate in PEM for clients
// that trust it.
func hostCertificate(t *testing.T, hosts []string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: mathbig.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: hosts, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// throughTo returns a proxy. Whatever host a client asks for, the proxy connects it to a port that
// sends a fixed text. For TLS, it opens a tunnel; for plain HTTP, the text is the proxy's answer.
func throughTo(t *testing.T, says string, plain bool) func(*http.Request) (*url.URL, error) {
	t.Helper()
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { port.Close() })
	go func() {
		for {
			conn, err := port.Accept()
			if err != nil {
				return
			}
			first := make([]byte, 1<<10)
			_, _ = conn.Read(first)
			_, _ = io.WriteString(conn, says)
			conn.Close()
		}
	}()
	proxy := &url.URL{Scheme: "http", Host: port.Addr().String()}
	if !plain {
		tunnels := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { tunnel(w, port.Addr().String()) }))
		t.Cleanup(tunnels.Close)
		proxy.Host = tunnels.Listener.Addr().String()
	}
	return func(*http.Request) (*url.URL, error) { return proxy, nil }
}
