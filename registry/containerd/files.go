package containerd

import (
	"crypto/x509"

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// maxFile is the maximum size, in bytes, of a configuration or certificate read from a node.
const maxFile = 16 << 20

// checkFiles checks the certificates that a hosts.toml will name. If one of them is unreadable,
// containerd cannot pull from any host in that hosts.toml.
func (m *Mirror) checkFiles() error {
	const advice = "containerd cannot pull with a hosts.toml whose certificates it cannot read: put the file in place first"
	if ca := m.options.CA; ca != "" {
		pem, err := plainfile.Read(ca, maxFile)
		if err != nil {
			return &AdviceError{err, advice}
		}
		if !x509.NewCertPool().AppendCertsFromPEM(pem) {
			return advise(advice, "%s: no PEM certificate in it", ca)
		}
	}
	cert, key := m.options.ClientCert, m.options.ClientKey
	if cert == "" {
		return nil
	}
	if key == "" {
		key = cert
	}
	if _, err := plainfile.ReadKeyPair(cert, key, maxFile); err != nil {
		return advise(advice, "client certificate %s with key %s: %w", cert, key, err)
	}
	return nil
}
