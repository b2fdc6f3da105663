package settings

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// loginNames are the names of the environment variables for a login.
type loginNames struct{ username, password, license string }

func ourLogin() loginNames {
	return loginNames{username: "LAYOUTPROXY_USERNAME", password: "LAYOUTPROXY_PASSWORD"}
}

// D8SourceLogin returns the variables with which d8 mirror pull logs in (deckhouse-cli,
// internal/mirror/cmd/pull/flags/flags.go).
func D8SourceLogin() loginNames {
	return loginNames{"D8_MIRROR_SOURCE_LOGIN", "D8_MIRROR_SOURCE_PASSWORD", "D8_MIRROR_LICENSE_TOKEN"}
}

// D8RegistryLogin returns the variables with which d8 mirror push logs in (deckhouse-cli,
// internal/mirror/cmd/push/flags.go).
func D8RegistryLogin() loginNames {
	return loginNames{username: "D8_MIRROR_REGISTRY_LOGIN", password: "D8_MIRROR_REGISTRY_PASSWORD"}
}

// licenseUser is the user name that goes with a license token as password.
const licenseUser = "license-token"

// login is a user name, its password, and where the user configured them.
type login struct {
	username string
	// source is the flag or variable with the user name, or "" if docker's credential store is used.
	source string
	// fromStdin is whether to read the password from standard input.
	fromStdin bool
	password  string
}

// chooseLogin chooses a login: from the command line, else from layoutproxy's variables, else from d8's. If
// all are missing, the result is empty. An empty variable counts as unset. A missing password is an error.
func chooseLogin(u *Upstream, getenv func(string) string) (login, error) {
	own := ourLogin()
	if u.username != "" {
		l := login{username: u.username, source: "--" + u.prefix + "username", fromStdin: u.passwordStdin}
		return l.withPassword(getenv, own.password, u.D8.password)
	}
	if u.License != "" {
		return login{username: licenseUser, source: "--license", password: u.License}, nil
	}
	for _, names := range []loginNames{own, u.D8} {
		if names.username != "" && getenv(names.username) != "" {
			l := login{username: getenv(names.username), source: names.username}
			return l.withPassword(getenv, names.password)
		}
		if names.license != "" && getenv(names.license) != "" {
			return login{username: licenseUser, source: names.license, password: getenv(names.license)}, nil
		}
	}
	return login{}, nil
}

// withPassword adds the password to the login, from the first of the variables that is set.
func (l login) withPassword(getenv func(string) string, names ...string) (login, error) {
	if l.fromStdin {
		return l, nil
	}
	for _, name := range names {
		if name != "" && getenv(name) != "" {
			l.password = getenv(name)
			return l, nil
		}
	}
	hint := "give the password on standard input with --username and --password-stdin, or set " + names[0]
	return l, exit.UsageError(exit.WithHint(fmt.Errorf("%s without a password", l.source), hint))
}

// credential returns the credential of the login. It reads the password from stdin if the login has
// fromStdin set. If the credential is empty, the client searches docker's credential store.
func (l login) credential(stdin io.Reader) (client.Credential, error) {
	c := client.Credential{Username: l.username, Password: l.password, Source: l.source}
	if !l.fromStdin {
		return c, nil
	}
	data, err := io.ReadAll(io.LimitReader(stdin, maxPassword))
	if err != nil {
		return c, fmt.Errorf("reading the password from standard input: %w", err)
	}
	if c.Password = strings.TrimRight(string(data), "\r\n"); c.Password == "" {
		return c, exit.UsageError(errors.New("--password-stdin: standard input is empty"))
	}
	return c, nil
}
