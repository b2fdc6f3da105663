package doctor_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/doctor"
)

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	file string // PEM
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	pair := certificate(t, nil, func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage, c.BasicConstraintsValid = true, x509.KeyUsageCertSign, true
		c.Subject.CommonName = "the authority"
	})
	certFile, _ := files(t, pair)
	a := &authority{pair.Leaf, pair.PrivateKey.(*ecdsa.PrivateKey), x509.NewCertPool(), certFile}
	a.pool.AddCert(a.cert)
	return a
}

// certificate makes a certificate for 127.0.0.1, which the given authority signs. Without an authority
// (nil), the certificate is self-signed.
func certificate(t *testing.T, by *authority, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: "the proxy"},
		NotBefore:    time.Now().Add(-48 * time.Hour),
		NotAfter:     time.Now().Add(1000 * time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(c)
	}
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func files(t *testing.T, c tls.Certificate) (certFile, keyFile string) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})),
		write(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func secure(t *testing.T, config *tls.Config) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(bundle(t))
	s.TLS = config
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestTLSCertificates(t *testing.T) {
	a := newAuthority(t)
	for name, test := range map[string]struct {
		change   func(*x509.Certificate)
		options  client.Options
		state    doctor.State
		words    []string
		apiState doctor.State
	}{
		"trusted":                        {nil, client.Options{CAFile: a.file}, doctor.OK, []string{"the proxy", "the authority", "TLS 1.3"}, doctor.OK},
		"unknown":                        {nil, client.Options{}, doctor.Failed, []string{"--ca-file", "mirror-config --ca"}, doctor.Skipped},
		"unknown authority, but ignored": {nil, client.Options{InsecureSkipVerify: true}, doctor.Warning, []string{"ignored on request"}, doctor.OK},
		"another name": {func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"proxy.example"} },
			client.Options{CAFile: a.file}, doctor.Failed, []string{"(proxy.example)"}, doctor.Skipped},
		"expired": {func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) },
			client.Options{CAFile: a.file}, doctor.Failed, []string{"renew", "clock"}, doctor.Skipped},
		"soon": {func(c *x509.Certificate) { c.NotAfter = time.Now().Add(24 * time.Hour) },
			client.Options{CAFile: a.file}, doctor.Warning, []string{"renew"}, doctor.OK},
	} {
		t.Run(name, func(t *testing.T) {
			s := secure(t, &tls.Config{Certificates: []tls.Certificate{certificate(t, a, test.change)}})
			r := examine(t, doctor.Options{URL: s.URL, Client: test.options})
			expect(t, r, "tls", test.state, test.words...)
			expect(t, r, "api", test.apiState)
			if test.state == doctor.Failed {
				expect(t, r, "api", doctor.Skipped, "depends on tls")
			}
		})
	}
}

func TestClientCertificate(t *testing.T) {
	a := newAuthority(t)
	s := secure(t, &tls.Config{
		Certificates: []tls.Certificate{certificate(t, a, nil)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool,
	})
	o := doctor.Options{URL: s.URL, Image: "app:v1", Client: client.Options{CAFile: a.file}}
	expect(t, examine(t, o), "api", doctor.Failed, "--client-cert")
	o.Client.CertFile, o.Client.KeyFile = files(t, certificate(t, newAuthority(t), nil))
	expect(t, examine(t, o), "api", doctor.Failed, "--client-ca")
	o.Client.CertFile, o.Client.KeyFile = files(t, certificate(t, a, nil))
	expect(t, examine(t, o), "blob", doctor.OK)
}

func TestURLWithWrongScheme(t *testing.T) {
	plain := listen(t, bundle(t))
	r := examine(t, doctor.Options{URL: strings.Replace(plain.URL, "http:", "https:", 1)})
	expect(t, r, "tls", doctor.Failed, "does not speak TLS", "http://127.0.0.1")
	a := newAuthority(t)
	s := secure(t, &tls.Config{Certificates: []tls.Certificate{certificate(t, a, nil)}})
	r = examine(t, doctor.Options{URL: strings.Replace(s.URL, "https:", "http:", 1)})
	expect(t, r, "api", doctor.Failed, "speaks TLS", "https://127.0.0.1")
}

func TestUnreachableRegistry(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	r := examine(t, doctor.Options{URL: "http://" + address, Image: "app:v1"})
	expect(t, r, "connection", doctor.Failed, address, "--listen")
	expect(t, r, "blob", doctor.Skipped, "depends on connection")
	if r.Content() {
		t.Error("Content of the report = true, want false, because the registry is only unreachable")
	}
	r = examine(t, doctor.Options{URL: "http://no-such-name.invalid:5000"})
	expect(t, r, "name", doctor.Failed, "no-such-name.invalid", "/etc/hosts")
}
