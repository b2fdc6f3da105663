package doctor

import (
	"context"
	"errors"
	"net/http"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

const adviceLogin = "give --username with --password-stdin, or log in with docker login; the kubelet needs the same login as an imagePullSecret"

// logIn checks whether the registry requires a login, and whether it accepts the login of the user.
func (d *doctor) logIn(ctx context.Context) Step {
	if d.api.code != http.StatusUnauthorized {
		return ok("no login is required")
	}
	if !client.SameHost(d.url, d.api.from) {
		return failed("use "+d.api.from.Host+" directly, in containerd's configuration and for this command", "%s redirects to %s://%s, which requires a login; a login is never sent to another host", d.url, d.api.from.Scheme, d.api.from.Host)
	}
	login, err := d.login.LogIn(ctx, d.api.from, d.api.header, d.image.repository)
	refused := errors.Is(err, client.ErrUnauthorized) || errors.Is(err, client.ErrDenied)
	switch {
	case login.Scheme != "" && login.Credential.Empty() && (refused || err == nil && login.Authorization == ""):
		return d.reportNoLogin(login.Scheme)
	case err != nil:
		return failed(adviceOfLogin(err), "%v", err)
	}
	d.auth = login.Authorization
	a, err := d.send(ctx, http.MethodGet, "", nil, maxErrorBody)
	switch {
	case err != nil:
		return failed("check the server's log", "GET /v2/ with a login: %v", err)
	case a.code != http.StatusOK:
		return failed(adviceLogin, "the login (%s, %v) is rejected: %s%s", login.Scheme, login.Credential, a.status, errorsOf(a.body))
	}
	return ok("%s with %v is accepted", login.Scheme, login.Credential)
}

// renewLogin replaces the login with one for the repository of the image: a token is valid only for the
// repository for which it was requested. If that fails, the login stays, and the registry refuses it.
func (d *doctor) renewLogin(ctx context.Context) {
	if d.auth == "" {
		return
	}
	if login, err := d.login.LogIn(ctx, d.api.from, d.api.header, d.image.repository); err == nil {
		d.auth = login.Authorization
	}
}

// reportNoLogin returns the result of the login step for a registry that requires a login, without credentials.
func (d *doctor) reportNoLogin(scheme string) Step {
	if d.image.repository == "" {
		return warning(adviceLogin, "the registry asks for a login (%s) and none was given; give an image to check whether pulling it needs the login", scheme)
	}
	return failed(adviceLogin, "a login is required (%s), and no credentials were found for %s", scheme, d.url.Host)
}

func adviceOfLogin(err error) string {
	var e *client.Error
	switch {
	case errors.Is(err, client.ErrCredentials):
		return "fix the login file or the credential helper, or give --username with --password-stdin"
	case errors.Is(err, client.ErrPrivate):
		return "if you trust that token server with the login, add --allow-private-redirects; containerd sends the login to that server in any case"
	case errors.As(err, &e) && e.Side == client.SideRegistry:
		return "check how authentication is configured in the registry, or in the proxy in front of it"
	}
	return adviceLogin
}
