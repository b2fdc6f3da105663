package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"

	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/doctor"
)

// doctorOptions are what the flags of a registry are to the doctor.
func (u *upstreamFlags) doctorOptions(stdin io.Reader) (doctor.Options, error) {
	o := doctor.Options{InsecureSkipVerify: u.insecure}
	if err := u.check(); err != nil {
		return o, err
	}
	given, err := u.credential(stdin)
	if err != nil {
		return o, err
	}
	keychain := client.NewKeychain()
	o.Credentials = func(ctx context.Context, host, repository string) (doctor.Login, error) {
		c := given
		if c.Username == "" {
			if c, err = keychain.Credential(ctx, host, repository); err != nil {
				return doctor.Login{}, err
			}
		}
		return doctor.Login{
			User: c.Username, Password: c.Password, IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken, Source: c.Source,
		}, nil
	}
	return o, u.doctorFiles(&o)
}

// doctorFiles reads the certificates.
func (u *upstreamFlags) doctorFiles(o *doctor.Options) error {
	if u.caFile != "" {
		pem, err := os.ReadFile(u.caFile)
		if err != nil {
			return fmt.Errorf("--ca-file: %w", err)
		}
		if o.Roots, err = x509.SystemCertPool(); err != nil {
			o.Roots = x509.NewCertPool()
		}
		if !o.Roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("--ca-file %s: no certificate (PEM) in it", u.caFile)
		}
	}
	if u.cert == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(u.cert, u.key)
	if err != nil {
		return fmt.Errorf("--client-cert %s with --client-key %s: %w", u.cert, u.key, err)
	}
	o.Certificates = []tls.Certificate{pair}
	return nil
}
