package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/registry/reload"
)

// newTLS returns a TLS configuration that uses the certificate files, or nil if the flags name no
// files. When a client connects and a file or a link to it has changed, the files are read again.
// While the new files are unusable, the previous ones stay in effect, for example until the key of
// a new certificate is written. prefix is the beginning of the flags' names: "" or "admin-".
func newTLS(log *zap.Logger, prefix string, files settings.TLS) (*tls.Config, error) {
	if !files.On() {
		return nil, nil
	}
	current, err := reload.New(reload.Options[*tls.Config]{
		Files:   slices.DeleteFunc([]string{files.Cert, files.Key, files.ClientCA}, func(name string) bool { return name == "" }),
		Read:    func() (*tls.Config, error) { return readTLS(prefix, files) },
		Changed: func() { log.Info("TLS files read again", zap.String("certificate", files.Cert)) },
		Failed: func(err error) {
			log.Warn("the TLS files cannot be used: layoutproxy keeps using the previous ones", zap.Error(err))
		},
	})
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return current.Get(), nil },
		// net/http never calls this function, but without it, net/http requires the names of
		// certificate files.
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return &current.Get().Certificates[0], nil
		},
	}, nil
}

func readTLS(prefix string, t settings.TLS) (*tls.Config, error) {
	pair, err := plainfile.ReadKeyPair(t.Cert, t.Key, maxPEM)
	if err != nil {
		return nil, fmt.Errorf("--%stls-cert %s with its key %s: %w", prefix, t.Cert, t.Key, err)
	}
	config := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2", "http/1.1"},
		Certificates: []tls.Certificate{pair},
	}
	if t.ClientCA == "" {
		return config, nil
	}
	pem, err := plainfile.Read(t.ClientCA, maxPEM)
	if err != nil {
		return nil, fmt.Errorf("--client-ca: %w", err)
	}
	config.ClientCAs = x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--client-ca %s: the file contains no certificate", t.ClientCA)
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	return config, nil
}

// maxPEM is the size of the largest certificate or key file that is read, in bytes.
const maxPEM = 16 << 20
