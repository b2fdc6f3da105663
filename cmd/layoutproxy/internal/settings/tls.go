package settings

import (
	"errors"

	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
)

// TLS names the files that TLS is made of.
type TLS struct {
	Cert, Key, ClientCA string
}

// AddFlags adds the flags to a set.
func (t *TLS) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&t.Cert, "tls-cert", "", "`file` with the certificate chain (PEM); reloaded when it changes")
	f.StringVar(&t.Key, "tls-key", "", "`file` with the key of the certificate (PEM)")
	f.StringVar(&t.ClientCA, "client-ca", "", "`file` with certificate authorities (PEM); a client needs a certificate that one of them signed")
}

// On reports whether there is a certificate.
func (t TLS) On() bool { return t.Cert != "" }

// Check finds files that do not go together.
func (t TLS) Check() error {
	if (t.Cert == "") != (t.Key == "") {
		return exit.UsageError(errors.New("--tls-cert and --tls-key must be given together"))
	}
	if t.ClientCA != "" && !t.On() {
		return exit.UsageError(errors.New("--client-ca needs --tls-cert and --tls-key"))
	}
	return nil
}
