package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/layoutstore/wait"
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

// certificates is the TLS configuration of the files as they are now. They are
// looked at again when a client connects, at most once a second, through
// whatever links lead to them. While they do not fit together, as in the middle
// of a change, the last good ones stay.
type certificates struct {
	log   *zap.Logger
	files tlsFlags

	now     atomic.Pointer[tls.Config]
	looking sync.Mutex
	looked  time.Time
	state   []fs.FileInfo // of the files that now was read from
	failed  []fs.FileInfo // state of the files that were last complained of
}

const (
	lookAgain = time.Second
	lookWait  = time.Second // that a client waits for it
)

func newCertificates(log *zap.Logger, files tlsFlags) (*certificates, error) {
	c := &certificates{log: log, files: files}
	state, err := c.files.state()
	if err != nil {
		return nil, err
	}
	config, err := c.files.read()
	if err != nil {
		return nil, err
	}
	c.now.Store(config)
	c.state, c.looked = state, time.Now()
	return c, nil
}

// config is the configuration of the server.
func (c *certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			ctx, cancel := context.WithTimeout(context.Background(), lookWait)
			defer cancel()
			// Where the disk hangs, what was read last counts.
			_, _ = wait.For(ctx, func() (struct{}, error) { c.look(); return struct{}{}, nil }, nil)
			return c.now.Load(), nil
		},
		// GetConfigForClient has the certificate; without one net/http asks for files.
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return &c.now.Load().Certificates[0], nil
		},
	}
}

// look reads the files again if they are others than those that were read.
func (c *certificates) look() {
	if !c.looking.TryLock() {
		return // somebody does
	}
	defer c.looking.Unlock()
	if time.Since(c.looked) < lookAgain {
		return
	}
	c.looked = time.Now()
	state, err := c.files.state()
	if err == nil && sameFiles(state, c.state) {
		return
	}
	config, readErr := c.files.read()
	if err = errors.Join(err, readErr); err != nil {
		if !sameFiles(state, c.failed) {
			c.log.Warn("the TLS files cannot be used: the last good ones are", zap.Error(err))
		}
		c.failed = state
		return
	}
	c.now.Store(config)
	c.state = state
	c.log.Info("TLS files read again", zap.String("certificate", c.files.cert))
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

// state is what the files are now; see sameFiles.
func (t tlsFlags) state() ([]fs.FileInfo, error) {
	var state []fs.FileInfo
	for _, file := range []struct{ flag, name string }{{"tls-cert", t.cert}, {"tls-key", t.key}, {"client-ca", t.clientCA}} {
		if file.name == "" {
			continue
		}
		info, err := os.Stat(file.name)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", file.flag, err)
		}
		state = append(state, info)
	}
	return state, nil
}

// sameFiles says whether none of the files was written or replaced between two
// states. Files of one size and time are told apart by what the system calls them.
func sameFiles(a, b []fs.FileInfo) bool {
	return slices.EqualFunc(a, b, func(a, b fs.FileInfo) bool {
		return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
	})
}
