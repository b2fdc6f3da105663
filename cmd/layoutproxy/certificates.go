package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/registry/reload"
)

// tlsFlags are the files that TLS is made of.
type tlsFlags struct {
	cert, key, clientCA string
}

func (t *tlsFlags) flags(f *pflag.FlagSet) {
	f.StringVar(&t.cert, "tls-cert", "", "`file` with the certificate chain (PEM); read again when it changes")
	f.StringVar(&t.key, "tls-key", "", "`file` with the key of the certificate (PEM)")
	f.StringVar(&t.clientCA, "client-ca", "", "`file` with the authorities (PEM) one of which must have signed a client's certificate")
}

func (t tlsFlags) on() bool { return t.cert != "" }

func (t tlsFlags) check() error {
	if (t.cert == "") != (t.key == "") {
		return exit.UsageError(errors.New("--tls-cert and --tls-key go together"))
	}
	if t.clientCA != "" && !t.on() {
		return exit.UsageError(errors.New("--client-ca needs --tls-cert and --tls-key"))
	}
	return nil
}

// certificates is the TLS configuration of the files as they are now. They are checked
// when a client connects, through whatever links lead to them. While they do not fit
// together, as in the middle of a change, the last good ones count.
type certificates struct {
	current *reload.Value[*tls.Config]
}

func newCertificates(log *zap.Logger, files tlsFlags) (*certificates, error) {
	current, err := reload.New(reload.Options[*tls.Config]{
		Files: files.names(), Read: files.read,
		Changed: func() { log.Info("TLS files read again", zap.String("certificate", files.cert)) },
		Failed: func(err error) {
			log.Warn("the TLS files cannot be used: the last good ones are", zap.Error(err))
		},
	})
	if err != nil {
		return nil, err
	}
	return &certificates{current}, nil
}

// config is the configuration of the server.
func (c *certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current.Get(), nil },
		// GetConfigForClient has the certificate; without one net/http asks for files.
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return &c.current.Get().Certificates[0], nil
		},
	}
}

// read makes a configuration of the files.
func (t tlsFlags) read() (*tls.Config, error) {
	pair, err := readPair(t.cert, t.key)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert %s with --tls-key %s: %w", t.cert, t.key, err)
	}
	config := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2", "http/1.1"},
		Certificates: []tls.Certificate{pair},
	}
	if t.clientCA == "" {
		return config, nil
	}
	pem, err := plainfile.Read(t.clientCA, maxPEM)
	if err != nil {
		return nil, fmt.Errorf("--client-ca: %w", err)
	}
	config.ClientCAs = x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--client-ca %s: no certificate in it", t.clientCA)
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	return config, nil
}

// maxPEM bounds a file of certificates or keys.
const maxPEM = 16 << 20

// readPair reads a certificate and its key.
func readPair(cert, key string) (tls.Certificate, error) {
	certPEM, err := plainfile.Read(cert, maxPEM)
	if err != nil {
		return tls.Certificate{}, err
	}
	keyPEM, err := plainfile.Read(key, maxPEM)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(certPEM, keyPEM)
}

// names are the files that are given.
func (t tlsFlags) names() []string {
	return slices.DeleteFunc([]string{t.cert, t.key, t.clientCA}, func(name string) bool { return name == "" })
}
