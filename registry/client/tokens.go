package client

import (
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

// tokenSlot holds the token of one realm, service and set of scopes.
type tokenSlot struct {
	fetching chan struct{} // holds one value: who has put it there may fetch
	token    string        // under the authorizer's lock, as the next
	expires  time.Time
}

// tokenRequest is what a token is asked for.
type tokenRequest struct {
	from       *url.URL // of the request that needs it
	challenge  challenge
	scopes     []string
	credential Credential
}

// tokenKey tells tokens apart: one is for whom it was issued to, and for what.
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

// kept is the slot's token, if it still has some life.
func (a *authorizer) kept(s *tokenSlot) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Now().Before(s.expires) {
		return s.token
	}
	return ""
}

func (a *authorizer) keep(s *tokenSlot, t tokenAnswer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s.token, s.expires = t.value(), t.expiry(time.Now())
}

// forget drops the token that an Authorization header shows, as it was refused.
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

// token is a token from memory, or a new one. Of several that want the same one
// one fetches it.
func (c *Client) token(ctx context.Context, r tokenRequest) (string, error) {
	s := c.auth.slot(r.key())
	if token := c.auth.kept(s); token != "" {
		return token, nil
	}
	select {
	case s.fetching <- struct{}{}:
		defer func() { <-s.fetching }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if token := c.auth.kept(s); token != "" {
		return token, nil
	}
	t, err := c.fetchToken(ctx, r)
	if err != nil {
		return "", err
	}
	c.auth.keep(s, t)
	return t.value(), nil
}

// tokenAnswer is the answer of a token server (distribution's token specification).
type tokenAnswer struct {
	Token       string  `json:"token"`
	AccessToken string  `json:"access_token"`
	ExpiresIn   seconds `json:"expires_in"`
}

func (t tokenAnswer) value() string {
	if t.Token != "" {
		return t.Token
	}
	return t.AccessToken
}

// seconds is a number of seconds as token servers write it: also as a string, or with a
// fraction. What cannot be understood is none: a token is as good without.
type seconds float64

// UnmarshalJSON implements json.Unmarshaler. It takes everything.
func (s *seconds) UnmarshalJSON(data []byte) error {
	n, err := strconv.ParseFloat(strings.TrimSpace(strings.Trim(string(data), `"`)), 64)
	if errors.Is(err, strconv.ErrRange) {
		err = nil // it is infinite then, or nothing
	}
	if err != nil || math.IsNaN(n) {
		n = 0
	}
	*s = seconds(n)
	return nil
}

const (
	// defaultLife is how long a token lives that does not say it, by the specification.
	defaultLife = time.Minute
	// maxLife is how long one is used at most.
	maxLife = 12 * 24 * time.Hour
)

// expiry is when to fetch another one: a while before the token's end.
func (t tokenAnswer) expiry(now time.Time) time.Time {
	life := defaultLife
	if t.ExpiresIn > 0 {
		life = time.Duration(min(float64(t.ExpiresIn), maxLife.Seconds()) * float64(time.Second))
	}
	return now.Add(life * 9 / 10)
}

// fetchToken asks the realm of the challenge: by GET, or by POST if there is an
// identity token to be exchanged.
func (c *Client) fetchToken(ctx context.Context, r tokenRequest) (tokenAnswer, error) {
	realm, err := url.Parse(r.challenge.params["realm"])
	if err == nil {
		err = c.allowed(r.from, realm)
	}
	if err != nil {
		return tokenAnswer{}, &Error{Op: opToken, Host: r.from.Host, Side: SideRegistry, Cause: causeAmong(err, ErrPrivate, ErrRefused), Err: fmt.Errorf("its realm: %w", err)}
	}
	if r.credential.IdentityToken != "" {
		t, err := c.askToken(ctx, r, realm, true)
		var e *Error
		// Not every token server knows how to exchange.
		if !errors.As(err, &e) || e.Status != http.StatusNotFound && e.Status != http.StatusMethodNotAllowed {
			return t, err
		}
	}
	return c.askToken(ctx, r, realm, false)
}

func (c *Client) askToken(ctx context.Context, r tokenRequest, realm *url.URL, exchange bool) (tokenAnswer, error) {
	k := &call{op: opToken, method: http.MethodGet, want: []int{http.StatusOK}, anonymous: true, unbounded: true, header: http.Header{}}
	form := realm.Query()
	form.Del("scope") // what is asked for is the call's business
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
	err := c.Insist(ctx, func(err error) bool { return errors.Is(err, errNoToken) }, func(fresh bool) (err error) {
		if fresh {
			k.header = pastCaches(k.header)
		}
		t, err = c.tokenOf(ctx, r, k)
		return err
	})
	return t, err
}

// errNoToken says that a token server answers, and not with a token.
var errNoToken = errors.New("the answer holds no token")

// tokenOf asks for a token once.
func (c *Client) tokenOf(ctx context.Context, r tokenRequest, k *call) (tokenAnswer, error) {
	resp, err := c.do(ctx, k)
	if err != nil {
		var e *Error
		if errors.As(err, &e) {
			e.Side, e.Repository, e.Anonymous = SideToken, repositoryOf(r.scopes), r.credential.Empty()
			refused := errors.Is(e.Cause, ErrUnauthorized) || errors.Is(e.Cause, ErrDenied)
			switch {
			case refused && e.Host != k.url.Host:
				e.Err = fmt.Errorf("the token server %s leads there: %w", k.url.Host, ErrOtherHost)
			case refused:
				e.Err = fmt.Errorf("the token server of %s refuses %v", r.from.Host, r.credential)
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

// opToken is the operation of asking for a token.
const opToken = "token"

// repositoryOf is the repository that a token is asked for, or "": the one to be pushed
// to, before one that something is mounted from.
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

// causeAmong is the first of the causes that err wraps, or the last one.
func causeAmong(err error, causes ...error) error {
	for _, cause := range causes {
		if errors.Is(err, cause) {
			return cause
		}
	}
	return causes[len(causes)-1]
}
