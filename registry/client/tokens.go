package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// tokenSlot holds the token for one tokenKey. It may be empty.
type tokenSlot struct {
	// fetching has room for one value. The goroutine that fetches the token keeps a value in it.
	fetching chan struct{}
	// token and expires are guarded by the authorizer's lock.
	token   string
	expires time.Time
}

type tokenRequest struct {
	from       *url.URL // URL of the request that needs the token
	challenge  challenge
	scopes     []string
	credential Credential
}

// tokenKey identifies a token by its issuer, scopes and credential.
type tokenKey struct {
	realm, service, scopes string
	credential             Credential
}

func (r tokenRequest) key() tokenKey {
	return tokenKey{r.challenge.params["realm"], r.challenge.params["service"], strings.Join(r.scopes, " "), r.credential}
}

func (a *authorizer) slot(key tokenKey) *tokenSlot {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.tokens[key]
	if s == nil {
		s = &tokenSlot{fetching: make(chan struct{}, 1)}
		a.tokens[key] = s
	}
	return s
}

// cached returns the slot's token, or "" if there is none or it is about to expire.
func (a *authorizer) cached(s *tokenSlot) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Now().Before(s.expires) {
		return s.token
	}
	return ""
}

func (a *authorizer) cache(s *tokenSlot, t tokenAnswer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s.token, s.expires = t.value(), t.expiry(time.Now())
}

// forget drops the token of an Authorization header that the registry refused.
func (a *authorizer) forget(header string) {
	token, ok := strings.CutPrefix(header, "Bearer ")
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.tokens {
		if s.token == token {
			s.token = ""
		}
	}
}

// token returns a cached token, or fetches one. If several callers need the same token, only one
// of them fetches it.
func (c *Client) token(ctx context.Context, r tokenRequest) (string, error) {
	s := c.auth.slot(r.key())
	if token := c.auth.cached(s); token != "" {
		return token, nil
	}
	select {
	case s.fetching <- struct{}{}:
		defer func() { <-s.fetching }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if token := c.auth.cached(s); token != "" {
		return token, nil
	}
	t, err := c.fetchToken(ctx, r)
	if err != nil {
		return "", err
	}
	c.auth.cache(s, t)
	return t.value(), nil
}

// tokenAnswer is the body of a token server's answer (distribution's token specification).
type tokenAnswer struct {
	Token       string  `json:"token"`
	AccessToken string  `json:"access_token"`
	ExpiresIn   seconds `json:"expires_in"`
}

func (t tokenAnswer) value() string { return cmp.Or(t.Token, t.AccessToken) }

// seconds is a number of seconds in a token server's answer. Some servers write it as a string,
// or with a fraction. A value that cannot be parsed counts as missing, because the token is still
// usable.
type seconds float64

// UnmarshalJSON implements json.Unmarshaler. It never returns an error.
func (s *seconds) UnmarshalJSON(data []byte) error {
	n, err := strconv.ParseFloat(strings.TrimSpace(strings.Trim(string(data), `"`)), 64)
	if errors.Is(err, strconv.ErrRange) {
		err = nil // if a number is too large, n is infinite
	}
	if err != nil || math.IsNaN(n) {
		n = 0
	}
	*s = seconds(n)
	return nil
}

const (
	// defaultLife is the lifetime that the specification sets for a token whose server reports none.
	defaultLife = time.Minute
	// maxLife limits how long a token is used, whatever its server reports.
	maxLife = 12 * 24 * time.Hour
)

// expiry returns the time after which to fetch a new token, a little before the token expires.
func (t tokenAnswer) expiry(now time.Time) time.Time {
	life := defaultLife
	if t.ExpiresIn > 0 {
		life = time.Duration(min(float64(t.ExpiresIn), maxLife.Seconds()) * float64(time.Second))
	}
	return now.Add(life * 9 / 10)
}

// fetchToken requests a token from the realm in the challenge. It uses GET, or POST if there is
// an identity token to exchange.
func (c *Client) fetchToken(ctx context.Context, r tokenRequest) (tokenAnswer, error) {
	realm, err := url.Parse(r.challenge.params["realm"])
	if err == nil {
		err = c.checkRedirect(r.from, realm)
	}
	if err != nil {
		return tokenAnswer{}, &Error{Op: opToken, Host: r.from.Host, Side: SideRegistry, Cause: causeAmong(err, ErrPrivate, ErrRefused), Err: fmt.Errorf("token realm: %w", err)}
	}
	if r.credential.IdentityToken != "" {
		t, err := c.askToken(ctx, r, realm, true)
		var e *Error
		// Some token servers do not support the exchange.
		if !errors.As(err, &e) || e.Status != http.StatusNotFound && e.Status != http.StatusMethodNotAllowed {
			return t, err
		}
	}
	return c.askToken(ctx, r, realm, false)
}

// askToken requests a token from realm, and repeats the request if the answer contains no token.
// If exchange is true, it sends the identity token.
func (c *Client) askToken(ctx context.Context, r tokenRequest, realm *url.URL, exchange bool) (tokenAnswer, error) {
	k := &call{op: opToken, method: http.MethodGet, want: []int{http.StatusOK}, anonymous: true, unbounded: true, header: http.Header{}}
	form := realm.Query()
	form.Del("scope") // drop the scopes in the realm's URL: only those of the call are requested
	if service := r.challenge.params["service"]; service != "" {
		form.Set("service", service)
	}
	target := *realm
	target.User, target.Fragment = nil, ""
	if exchange {
		form.Set("scope", strings.Join(r.scopes, " "))
		form.Set("client_id", "layoutproxy")
		form.Set("grant_type", "refresh_token")
		form.Set("refresh_token", r.credential.IdentityToken)
		k.method = http.MethodPost
		k.header.Set("Content-Type", "application/x-www-form-urlencoded")
		k.setBody([]byte(form.Encode()))
		k.secret = true
		target.RawQuery = ""
	} else {
		for _, s := range r.scopes {
			form.Add("scope", s)
		}
		target.RawQuery = form.Encode()
		if r.credential.Username != "" {
			k.basic = &r.credential
		}
	}
	k.url = &target
	var t tokenAnswer
	err := c.RetryMismatch(ctx, func(err error) bool { return errors.Is(err, errNoToken) }, func(fresh bool) (err error) {
		if fresh {
			k.header = pastCaches(k.header)
		}
		t, err = c.requestToken(ctx, r, k)
		return err
	})
	return t, err
}

var errNoToken = errors.New("the answer contains no token")

func (c *Client) requestToken(ctx context.Context, r tokenRequest, k *call) (tokenAnswer, error) {
	resp, err := c.do(ctx, k)
	if err != nil {
		var e *Error
		if errors.As(err, &e) {
			e.Side, e.Repository, e.Anonymous = SideToken, repositoryOf(r.scopes), r.credential.Empty()
			refused := errors.Is(e.Cause, ErrUnauthorized) || errors.Is(e.Cause, ErrDenied)
			switch {
			case refused && e.Host != k.url.Host:
				e.Err = fmt.Errorf("the token server %s redirects to this host: %w", k.url.Host, ErrOtherHost)
			case refused:
				e.Err = fmt.Errorf("the token server of %s rejects %v", r.from.Host, r.credential)
			}
		}
		return tokenAnswer{}, err
	}
	defer resp.Body.Close()
	var t tokenAnswer
	err = json.NewDecoder(io.LimitReader(resp.Body, maxErrorBody)).Decode(&t)
	if err != nil || t.value() == "" {
		return tokenAnswer{}, &Error{Op: opToken, Host: k.url.Host, Side: SideToken, Status: resp.StatusCode, Cause: ErrRefused, Err: errNoToken}
	}
	return t, nil
}

const opToken = "token"

// repositoryOf returns the repository in the scopes of a token, or "". If there are several, it
// returns the repository to push to, rather than one to mount from.
func repositoryOf(scopes []string) (name string) {
	for _, s := range scopes {
		resource, actions := cutActions(s)
		found, ok := strings.CutPrefix(resource, "repository:")
		if ok && (name == "" || slices.Contains(actions, "push")) {
			name = found
		}
	}
	return name
}

// causeAmong returns the first of the given causes that err wraps. If it wraps none, causeAmong
// returns the last one.
func causeAmong(err error, causes ...error) error {
	for _, cause := range causes {
		if errors.Is(err, cause) {
			return cause
		}
	}
	return causes[len(causes)-1]
}
