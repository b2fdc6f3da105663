package daemon

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	a.cert, a.key, a.pem = issue(t, "authority", nil)
	return a
}

// issue creates a certificate for name. It is signed by a, or by itself if a is nil.
func issue(t *testing.T, name string, a *authority) (*x509.Certificate, *ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	layouttest.Try(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	layouttest.Try(t, err)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: a == nil, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := template, key
	if a != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	layouttest.Try(t, err)
	cert, err := x509.ParseCertificate(der)
	layouttest.Try(t, err)
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// writePair writes a new certificate for name, and its key, into dir as the files cert and key.
func writePair(t *testing.T, dir, name string, a *authority) tls.Certificate {
	t.Helper()
	_, key, certPEM := issue(t, name, a)
	der, err := x509.MarshalECPrivateKey(key)
	layouttest.Try(t, err)
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	layouttest.Try(t, os.MkdirAll(dir, 0o755))
	layouttest.Try(t, os.WriteFile(filepath.Join(dir, "cert"), certPEM, 0o644))
	layouttest.Try(t, os.WriteFile(filepath.Join(dir, "key"), keyPEM, 0o600))
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	layouttest.Try(t, err)
	return pair
}

func servedName(t *testing.T, address string) string {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
}

// No request fails while the certificate is replaced. The test first changes a link to its
// directory, and then overwrites the certificate and its key.
func TestCertificatesAreReplacedUnderLoad(t *testing.T) {
	t.Parallel()
	tree, dir := t.TempDir(), t.TempDir()
	layouttest.Publish(t, tree, "install", "v1")
	ca := newAuthority(t)
	for _, name := range []string{"one", "two"} {
		writePair(t, filepath.Join(dir, name), name, ca)
	}
	link := filepath.Join(dir, "current")
	layouttest.Try(t, os.Symlink("one", link))
	registry, _ := inProcess(t, "--tls-cert", filepath.Join(link, "cert"), "--tls-key", filepath.Join(link, "key"), tree)

	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			client := insecure()
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := client.Get("https://" + registry + "/v2/install/manifests/v1")
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
				if resp.StatusCode != 200 || resp.ProtoMajor != 2 {
					t.Errorf("got %s %s, want HTTP/2.0 200 OK", resp.Proto, resp.Status)
				}
			}
		})
	}
	if name := servedName(t, registry); name != "one" {
		t.Errorf("the server has a certificate for %q, want \"one\"", name)
	}
	layouttest.Try(t, os.Symlink("two", link+".new"))
	layouttest.Try(t, os.Rename(link+".new", link))
	layouttest.Eventually(t, "the server uses the certificate that the changed link leads to", func() bool { return servedName(t, registry) == "two" })

	// Overwrite the certificate first, and then its key. Until the two match, the server keeps the
	// previous pair.
	other := t.TempDir()
	writePair(t, other, "three", ca)
	cert, err := os.ReadFile(filepath.Join(other, "cert"))
	layouttest.Try(t, err)
	key, err := os.ReadFile(filepath.Join(other, "key"))
	layouttest.Try(t, err)
	layouttest.Try(t, os.WriteFile(filepath.Join(link, "cert"), cert, 0o644))
	if name := servedName(t, registry); name != "two" {
		t.Errorf("the server has a certificate for %q, want \"two\" until the new key is written", name)
	}
	layouttest.Try(t, os.WriteFile(filepath.Join(link, "key"), key, 0o600))
	layouttest.Eventually(t, "the server uses the certificate that was overwritten", func() bool { return servedName(t, registry) == "three" })
	close(stop)
	clients.Wait()
}

func TestClientCertificateIsRequired(t *testing.T) {
	t.Parallel()
	tree, dir := t.TempDir(), t.TempDir()
	layouttest.Publish(t, tree, "install", "v1")
	ca, stranger := newAuthority(t), newAuthority(t)
	writePair(t, dir, "server", ca)
	good := writePair(t, t.TempDir(), "client", ca)
	bad := writePair(t, t.TempDir(), "client", stranger)
	authorities := filepath.Join(dir, "ca")
	layouttest.Try(t, os.WriteFile(authorities, ca.pem, 0o644))
	registry, _ := inProcess(t, "--tls-cert", filepath.Join(dir, "cert"), "--tls-key", filepath.Join(dir, "key"), "--client-ca", authorities, tree)
	ask := func(certificates ...tls.Certificate) error {
		resp, err := insecure(certificates...).Get("https://" + registry + "/v2/")
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if err := ask(good); err != nil {
		t.Error(err)
	}
	if ask() == nil {
		t.Error("a client without a certificate: got no error, want a refusal")
	}
	if ask(bad) == nil {
		t.Error("a client with a certificate of an unknown authority: got no error, want a refusal")
	}
	layouttest.Try(t, os.WriteFile(authorities, stranger.pem, 0o644))
	layouttest.Eventually(t, "the server accepts only the new authority", func() bool { return ask(bad) == nil && ask(good) != nil })
}

func TestInvalidTLSFilesAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newAuthority(t)
	writePair(t, dir, "server", ca)
	writePair(t, filepath.Join(dir, "other"), "other", ca)
	cert, key, empty := filepath.Join(dir, "cert"), filepath.Join(dir, "key"), filepath.Join(dir, "empty")
	layouttest.Try(t, os.WriteFile(empty, nil, 0o600))
	for name, f := range map[string]settings.TLS{
		"missing certificate":           {Cert: cert + "x", Key: key},
		"key of another certificate":    {Cert: cert, Key: filepath.Join(dir, "other/key")},
		"empty key":                     {Cert: cert, Key: empty},
		"no certificate in --client-ca": {Cert: cert, Key: key, ClientCA: key},
		"missing --client-ca file":      {Cert: cert, Key: key, ClientCA: key + "x"},
	} {
		if _, err := newTLS(nil, "", f); err == nil {
			t.Errorf("%s: newTLS returned no error, want one", name)
		}
	}
	for name, args := range map[string][]string{
		"certificate without key": {"--tls-cert", cert}, "key without certificate": {"--tls-key", key}, "--client-ca without certificate": {"--client-ca", cert},
	} {
		if err := settingsOf(t, append(args, dir)...).Check(); exit.Status(err) != exit.Usage {
			t.Errorf("%s: got the error %v, want a usage error", name, err)
		}
	}
}
