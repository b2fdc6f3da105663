package settings

import (
	"errors"

	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
)

// Admin says who may use the admin address, and by which certificate it is known.
type Admin struct {
	Htpasswd  string
	Cert, Key string
}

// AddFlags adds the flags to a set.
func (a *Admin) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&a.Htpasswd, "admin-htpasswd", "", "`file` of users and bcrypt hashes (htpasswd -B) who may use the admin address, except for /healthz and /readyz; reloaded when it changes")
	f.StringVar(&a.Cert, "admin-tls-cert", "", "`file` with the certificate chain (PEM) of the admin address; reloaded when it changes")
	f.StringVar(&a.Key, "admin-tls-key", "", "`file` with the key of that certificate (PEM)")
}

// TLS returns the files of the certificate.
func (a *Admin) TLS() TLS { return TLS{Cert: a.Cert, Key: a.Key} }

// check finds flags that do not go together; listen is the admin address.
func (a *Admin) check(listen string) error {
	if (a.Cert == "") != (a.Key == "") {
		return exit.UsageError(errors.New("--admin-tls-cert and --admin-tls-key must be given together"))
	}
	if listen == "" && *a != (Admin{}) {
		return exit.UsageError(exit.WithHint(errors.New("--admin-htpasswd and --admin-tls-… without an admin address"), "remove them, or name the address: --admin-listen 127.0.0.1:5580"))
	}
	return nil
}
