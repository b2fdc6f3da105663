package doctor

import (
	"context"
	"errors"
	"net/http"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

const adviceLogin = "give --username with --password-stdin, or log in with docker login; the kubelet needs the same as an imagePullSecret"

// logIn finds out whether a login is wanted, and whether ours will do.
func (d *doctor) logIn(ctx context.Context) Step {
	if d.api.code != http.StatusUnauthorized {
		return ok("none are asked for")
	}
	if !client.SameHost(d.url, d.api.from) {
		return failed("point containerd and this command at "+d.api.from.Host+" at once", "%s leads to %s://%s, which asks for a login; the login of one host is shown to no other", d.url, d.api.from.Scheme, d.api.from.Host)
	}
	login, err := d.login.LogIn(ctx, d.api.from, d.api.header, d.image.repository)
	refused := errors.Is(err, client.ErrUnauthorized) || errors.Is(err, client.ErrDenied)
	switch {
	case login.Scheme != "" && login.Credential.Empty() && (refused || err == nil && login.Authorization == ""):
		return d.nobody(login.Scheme)
	case err != nil:
		return failed(adviceOfLogin(err), "%v", err)
	}
	d.auth = login.Authorization
	req, err := d.request(ctx, http.MethodGet, "")
	if err != nil {
		return failed("", "%v", err)
	}
	a, err := d.do(req, maxErrorBody)
	switch {
	case err != nil:
		return failed("see the server's log", "GET /v2/ with a login: %v", err)
	case a.code != http.StatusOK:
		return failed(adviceLogin, "the login (%s, %v) is refused: %s%s", login.Scheme, login.Credential, a.status, errorsOf(a.body))
	}
	return ok("%s with %v is taken", login.Scheme, login.Credential)
}

// nobody is the step of who has no login.
func (d *doctor) nobody(scheme string) Step {
	if d.image.repository == "" {
		return warning(adviceLogin, "it asks for a login (%s), and there is none; without an image none was tried", scheme)
	}
	return failed(adviceLogin, "it asks for a login (%s), and there is none for %s", scheme, d.url.Host)
}

// adviceOfLogin says what to do where there is no way to log in.
func adviceOfLogin(err error) string {
	var e *client.Error
	switch {
	case errors.Is(err, client.ErrCredentials):
		return "mend that file or helper, or give --username with --password-stdin"
	case errors.Is(err, client.ErrPrivate):
		return "add --allow-private-redirects if that token server is meant to have the login; containerd asks it without being told"
	case errors.As(err, &e) && e.Side == client.SideRegistry:
		return "see how the registry, or the proxy before it, is told to ask for a login"
	}
	return adviceLogin
}
