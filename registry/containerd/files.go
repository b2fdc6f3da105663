package containerd

import (
	"crypto/tls"
	"crypto/x509"
	"os"
)

// checkFiles reads the certificates that a hosts.toml of this node will name: with one
// that cannot be read containerd pulls nothing from any host of that file.
func (m *Mirror) checkFiles() error {
	const advice = "containerd pulls nothing by a hosts.toml whose certificates it cannot read: put the file in place first"
	if ca := m.options.CA; ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return &AdviceError{err, advice}
		}
		if !x509.NewCertPool().AppendCertsFromPEM(pem) {
			return advise(advice, "%s: no certificate (PEM) in it", ca)
		}
	}
	cert, key := m.options.ClientCert, m.options.ClientKey
	if cert == "" {
		return nil
	}
	if key == "" {
		key = cert
	}
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
		return advise(advice, "client certificate %s with key %s: %w", cert, key, err)
	}
	return nil
}
