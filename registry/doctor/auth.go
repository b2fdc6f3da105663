package doctor

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

var errNoLogin = errors.New("no login")

func schemeOf(challenge string) string {
	scheme, _, _ := strings.Cut(challenge, " ")
	return scheme
}

// authorize makes an Authorization header that meets a challenge (RFC 7235; for
// tokens, the distribution project's "Token Authentication Specification").
func (d *doctor) authorize(ctx context.Context, challenge string, login Login) (string, error) {
	switch strings.ToLower(schemeOf(challenge)) {
	case "basic":
		if login.User == "" {
			return "", errNoLogin
		}
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(login.User+":"+login.Password)), nil
	case "bearer":
		if login.RegistryToken != "" {
			return "Bearer " + login.RegistryToken, nil
		}
		token, err := d.token(ctx, challenge, login)
		return "Bearer " + token, err
	}
	return "", fmt.Errorf("it asks for a login of a kind that is not known: %q", challenge)
}

var parameter = regexp.MustCompile(`(\w+)="([^"]*)"`)

// tokenRequest asks the token server that a challenge names: with a user's password,
// or by OAuth2 with an identity token.
func (d *doctor) tokenRequest(ctx context.Context, challenge string, login Login) (*http.Request, error) {
	params := map[string]string{}
	for _, m := range parameter.FindAllStringSubmatch(challenge, -1) {
		params[strings.ToLower(m[1])] = m[2]
	}
	realm, err := url.Parse(params["realm"])
	if err != nil || realm.Host == "" {
		return nil, fmt.Errorf("it names no token server: %q", challenge)
	}
	values := realm.Query()
	values.Set("service", params["service"])
	if d.image.repository != "" {
		values.Set("scope", "repository:"+d.image.repository+":pull")
	}
	if login.IdentityToken != "" {
		values.Set("grant_type", "refresh_token")
		values.Set("refresh_token", login.IdentityToken)
		values.Set("client_id", "layoutproxy")
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, realm.String(), strings.NewReader(values.Encode()))
		if err == nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return req, err
	}
	realm.RawQuery = values.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, realm.String(), nil)
	if err == nil && login.User != "" {
		req.SetBasicAuth(login.User, login.Password)
	}
	return req, err
}

// token fetches a token.
func (d *doctor) token(ctx context.Context, challenge string, login Login) (string, error) {
	req, err := d.tokenRequest(ctx, challenge, login)
	if err != nil {
		return "", err
	}
	a, err := d.do(req, 1<<20)
	if err != nil {
		return "", fmt.Errorf("token server: %w", err)
	}
	switch {
	case a.code == http.StatusUnauthorized && login.empty():
		return "", errNoLogin
	case a.code != http.StatusOK:
		return "", fmt.Errorf("the token server %s answers %s%s", req.URL.Host, a.status, errorsOf(a.body))
	}
	var given struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(a.body, &given); err != nil {
		return "", fmt.Errorf("the token server %s: %w", req.URL.Host, err)
	}
	if given.Token == "" {
		given.Token = given.AccessToken
	}
	if given.Token == "" {
		return "", fmt.Errorf("the token server %s gives no token", req.URL.Host)
	}
	return given.Token, nil
}
