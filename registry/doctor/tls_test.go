package doctor_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/registry/doctor"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	pair := certificate(t, nil, func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage, c.BasicConstraintsValid = true, x509.KeyUsageCertSign, true
		c.Subject.CommonName = "the authority"
	})
	a := &authority{pair.Leaf, pair.PrivateKey.(*ecdsa.PrivateKey), x509.NewCertPool()}
	a.pool.AddCert(a.cert)
	return a
}

// certificate makes one for 127.0.0.1, signed by an authority, or by itself.
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

// secure serves the bundle by TLS.
func secure(t *testing.T, config *tls.Config) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(bundle(t))
	s.TLS = config
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestTLS(t *testing.T) {
	a := newAuthority(t)
	for name, test := range map[string]struct {
		change   func(*x509.Certificate)
		options  doctor.Options
		state    doctor.State
		words    []string
		apiState doctor.State
	}{
		"trusted":  {nil, doctor.Options{Roots: a.pool}, doctor.OK, []string{"the proxy", "the authority", "TLS 1.3"}, doctor.OK},
		"unknown":  {nil, doctor.Options{}, doctor.Failed, []string{"--ca-file", "mirror-config --ca"}, doctor.Skipped},
		"overseen": {nil, doctor.Options{InsecureSkipVerify: true}, doctor.Warning, []string{"overlooked"}, doctor.OK},
		"another name": {func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"proxy.example"} },
			doctor.Options{Roots: a.pool}, doctor.Failed, []string{"(proxy.example)"}, doctor.Skipped},
		"expired": {func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) },
			doctor.Options{Roots: a.pool}, doctor.Failed, []string{"renew", "clock"}, doctor.Skipped},
		"soon": {func(c *x509.Certificate) { c.NotAfter = time.Now().Add(24 * time.Hour) },
			doctor.Options{Roots: a.pool}, doctor.Warning, []string{"renew"}, doctor.OK},
	} {
		t.Run(name, func(t *testing.T) {
			s := secure(t, &tls.Config{Certificates: []tls.Certificate{certificate(t, a, test.change)}})
			test.options.URL = s.URL
			r := examine(t, test.options)
			expect(t, r, "tls", test.state, test.words...)
			expect(t, r, "api", test.apiState)
			if test.state == doctor.Failed {
				expect(t, r, "api", doctor.Skipped, "rests on tls")
			}
		})
	}
}

func TestClientCertificate(t *testing.T) {
	a := newAuthority(t)
	s := secure(t, &tls.Config{
		Certificates: []tls.Certificate{certificate(t, a, nil)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool,
	})
	o := doctor.Options{URL: s.URL, Roots: a.pool, Image: "app:v1"}
	expect(t, examine(t, o), "api", doctor.Failed, "--client-cert")
	o.Certificates = []tls.Certificate{certificate(t, newAuthority(t), nil)}
	expect(t, examine(t, o), "api", doctor.Failed, "--client-ca")
	o.Certificates = []tls.Certificate{certificate(t, a, nil)}
	expect(t, examine(t, o), "blob", doctor.OK)
}

// A server is told from one of the other kind.
func TestSchemes(t *testing.T) {
	plain := listen(t, bundle(t))
	r := examine(t, doctor.Options{URL: strings.Replace(plain.URL, "http:", "https:", 1)})
	expect(t, r, "tls", doctor.Failed, "does not speak TLS", "http://127.0.0.1")
	a := newAuthority(t)
	s := secure(t, &tls.Config{Certificates: []tls.Certificate{certificate(t, a, nil)}})
	r = examine(t, doctor.Options{URL: strings.Replace(s.URL, "https:", "http:", 1)})
	expect(t, r, "api", doctor.Failed, "speaks TLS", "https://127.0.0.1")
}

func TestConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	r := examine(t, doctor.Options{URL: "http://" + address, Image: "app:v1"})
	expect(t, r, "connection", doctor.Failed, address, "--listen")
	expect(t, r, "blob", doctor.Skipped, "rests on connection")
	if r.Content() {
		t.Error("unreachable is no matter of content")
	}
	r = examine(t, doctor.Options{URL: "http://no-such-name.invalid:5000"})
	expect(t, r, "name", doctor.Failed, "no-such-name.invalid", "/etc/hosts")
}
