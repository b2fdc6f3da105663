//go:build full

package acceptance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// certificates are the PEM files of an authority, of a server on 127.0.0.1 and of a client.
type certificates struct {
	ca, serverCert, serverKey, clientCert, clientKey string
}

func newCertificates(t *testing.T) certificates {
	t.Helper()
	dir := t.TempDir()
	ca, caKey := sign(t, "authority", nil, nil)
	server, serverKey := sign(t, "server", ca, caKey)
	client, clientKey := sign(t, "client", ca, caKey)
	return certificates{
		ca:         pemFile(t, dir, "ca.pem", "CERTIFICATE", ca.Raw),
		serverCert: pemFile(t, dir, "server.pem", "CERTIFICATE", server.Raw), serverKey: keyFile(t, dir, "server.key", serverKey),
		clientCert: pemFile(t, dir, "client.pem", "CERTIFICATE", client.Raw), clientKey: keyFile(t, dir, "client.key", clientKey),
	}
}

// sign makes a key and a certificate for it. The authority whose certificate (by) and key (with) are
// given signs the new certificate. If by is nil, the result is a self-signed authority.
func sign(t *testing.T, name string, by *x509.Certificate, with *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true, IsCA: by == nil,
	}
	if by == nil {
		by, with = c, key
		c.KeyUsage = x509.KeyUsageCertSign
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by, key.Public(), with)
	must(t, err)
	made, err := x509.ParseCertificate(der)
	must(t, err)
	return made, key
}

func pemFile(t *testing.T, dir, name, kind string, der []byte) string {
	t.Helper()
	file := filepath.Join(dir, name)
	must(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return file
}

func keyFile(t *testing.T, dir, name string, key *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(key)
	must(t, err)
	return pemFile(t, dir, name, "EC PRIVATE KEY", der)
}
