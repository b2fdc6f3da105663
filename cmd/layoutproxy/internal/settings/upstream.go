package settings

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// Upstream configures the connection to another registry, for all commands that need one.
type Upstream struct {
	username      string
	passwordStdin bool
	CAFile        string
	cert          string
	key           string
	insecure      bool
	PlainHTTP     bool
	private       bool
	Jobs          int
	retries       int

	UserAgent string // User-Agent header, with the version of layoutproxy.
	prefix    string // Beginning of the flags' names in messages, such as "push-".

	License string     // Value of --license; empty in commands without this flag.
	D8      loginNames // Variables of d8 that can also contain the login; none by default.
}

// AddLoginFlags adds the flags for a command that reads from an admin address: the login and the
// trusted certificates.
func (u *Upstream) AddLoginFlags(f *pflag.FlagSet) {
	all := pflag.NewFlagSet("login", pflag.ContinueOnError)
	// AddFlags also sets the defaults of the fields for which AddLoginFlags adds no flag.
	u.AddFlags(all)
	for _, name := range []string{"username", "password-stdin", "ca-file", "insecure-skip-tls-verify"} {
		f.AddFlag(all.Lookup(name))
	}
	f.Lookup("username").Usage = "`name` to log in with (default $LAYOUTPROXY_USERNAME)"
	f.Lookup("insecure-skip-tls-verify").Usage = "accept any certificate of the server"
}

// AddFlags adds all flags about the connection to the registry, except for --license.
func (u *Upstream) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&u.username, "username", "", "`name` to log in with (default $LAYOUTPROXY_USERNAME, else docker's credential store)")
	f.BoolVar(&u.passwordStdin, "password-stdin", false, "read the password from standard input instead of $LAYOUTPROXY_PASSWORD")
	f.StringVar(&u.CAFile, "ca-file", "", "PEM `file` with certificate authorities to trust, in addition to those of the system")
	f.StringVar(&u.cert, "client-cert", "", "PEM `file` with the client certificate for the registry")
	f.StringVar(&u.key, "client-key", "", "PEM `file` with the key of the client certificate")
	f.BoolVar(&u.insecure, "insecure-skip-tls-verify", false, "accept any certificate of the registry")
	f.BoolVar(&u.PlainHTTP, "plain-http", false, "use HTTP without TLS; for a registry on this machine, the flag is not needed")
	f.BoolVar(&u.private, "allow-private-redirects", false, "follow redirects to other private addresses, and log in to a token server at a private address")
	f.IntVar(&u.Jobs, "jobs", client.DefaultJobs, "`number` of parallel requests; reduced while the registry limits the rate of requests")
	f.IntVar(&u.retries, "retries", client.DefaultRetries, "`number` of retries after a temporary failure; unless this is 0, wait up to two minutes for an unreachable registry")
}

// ParseUpstream parses REGISTRY/PATH. Errors are [exit.UsageError].
func ParseUpstream(arg string) (client.Reference, error) {
	r, err := client.ParseReference(arg)
	if err == nil {
		return r, nil
	}
	hint := "name the registry and the path below it: registry.example:5000/deckhouse/ee"
	if strings.Contains(arg, "://") {
		hint = "omit the scheme; for a registry without TLS, add --plain-http"
	}
	return client.Reference{}, exit.UsageError(exit.WithHint(err, hint))
}

// Check returns an error for invalid values, and for flags that cannot be combined.
func (u *Upstream) Check() error {
	switch {
	case u.Jobs < 1:
		return exit.UsageError(fmt.Errorf("--%sjobs %d: must be at least 1", u.prefix, u.Jobs))
	case u.retries < 0:
		return exit.UsageError(fmt.Errorf("--%sretries %d: must not be negative", u.prefix, u.retries))
	case (u.cert == "") != (u.key == ""):
		return exit.UsageError(fmt.Errorf("--%sclient-cert and --%sclient-key must be given together", u.prefix, u.prefix))
	case u.License != "" && u.username != "":
		return exit.UsageError(errors.New("--license and --username cannot be combined: both are logins"))
	case u.passwordStdin && u.username == "":
		return exit.UsageError(fmt.Errorf("--%spassword-stdin needs --%susername", u.prefix, u.prefix))
	case u.PlainHTTP && (u.CAFile != "" || u.cert != "" || u.insecure):
		return exit.UsageError(fmt.Errorf("--%splain-http cannot be combined with flags for certificates", u.prefix))
	}
	return nil
}

// Options returns the configuration as options of a client. With --password-stdin, it reads the
// password from stdin.
func (u *Upstream) Options(stdin io.Reader) (client.Options, error) {
	if err := u.Check(); err != nil {
		return client.Options{}, err
	}
	login, err := chooseLogin(u, os.Getenv)
	if err != nil {
		return client.Options{}, err
	}
	credential, err := login.credential(stdin)
	if err != nil {
		return client.Options{}, err
	}
	retries := u.retries
	if retries == 0 {
		retries = -1 // For the client, 0 means the default number of retries.
	}
	return client.Options{
		PlainHTTP: u.PlainHTTP, InsecureSkipVerify: u.insecure,
		CAFile: u.CAFile, CertFile: u.cert, KeyFile: u.key,
		Credential: credential, Keychain: client.NewKeychain(),
		AllowPrivateRedirects: u.private, Jobs: u.Jobs, Retries: retries,
		UserAgent: u.UserAgent,
	}, nil
}

// CheckClient returns an error if Open cannot return a client for a registry: because the login is incomplete, or
// a file with certificates is unusable. It reads nothing from standard input.
func (u *Upstream) CheckClient(r client.Reference) error {
	o, err := u.Options(strings.NewReader("any password"))
	if err != nil {
		return err
	}
	o.Registry = r.Registry
	c, err := client.New(o)
	if err == nil {
		c.Close()
	}
	return err
}

// Open returns a client for a registry. push is whether the client will write to the registry.
func (u *Upstream) Open(r client.Reference, push bool, stdin io.Reader, log *zap.Logger) (*client.Client, error) {
	o, err := u.Options(stdin)
	if err != nil {
		return nil, err
	}
	if u.License != "" {
		log.Warn("the license token is on the command line, where every user of this machine sees it: set D8_MIRROR_LICENSE_TOKEN instead of --license")
	}
	o.Registry, o.Push = r.Registry, push
	o.Retrying = func(err error, pause time.Duration) {
		log.Info("retrying", zap.Error(err), zap.Duration("in", pause.Round(time.Millisecond)))
	}
	if !push { // A push warns about missing features itself (push.Run).
		o.Noticed = func(err error) {
			log.Warn("a feature of the registry cannot be used", zap.Error(err))
		}
	}
	return client.New(o)
}

// maxPassword limits how many bytes of a password are read from standard input.
const maxPassword = 64 << 10

// AddLicenseFlag adds --license, a login for Deckhouse's registry.
func (u *Upstream) AddLicenseFlag(f *pflag.FlagSet) {
	f.StringVarP(&u.License, "license", "l", "", "log in with a Deckhouse license `token`; other users of this machine can see the command line, so prefer $D8_MIRROR_LICENSE_TOKEN")
}
