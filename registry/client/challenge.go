package client

import (
	"net/http"
	"strings"
)

// challenge is one authentication method that a server offers (RFC 7235, section 4.1).
type challenge struct {
	scheme string // lower case
	params map[string]string
}

// challengeOf returns a challenge in the header of an answer that the client can respond to. It
// prefers Bearer to Basic.
func challengeOf(h http.Header) (challenge, bool) {
	var basic challenge
	for _, line := range h.Values("WWW-Authenticate") {
		for _, c := range parseChallenges(line) {
			switch c.scheme {
			case "bearer":
				return c, true
			case "basic":
				basic = c
			}
		}
	}
	return basic, basic.scheme != ""
}

// parseChallenges reads a WWW-Authenticate header, up to the first syntax error.
func parseChallenges(s string) (all []challenge) {
	for {
		s = strings.TrimLeft(s, " \t,")
		word, rest := token(s)
		if word == "" {
			return all
		}
		if value, after, ok := parameter(rest); ok && len(all) > 0 {
			all[len(all)-1].params[strings.ToLower(word)] = value
			s = after
			continue
		}
		all = append(all, challenge{strings.ToLower(word), map[string]string{}})
		s = rest
	}
}

// token splits off a token (RFC 7230, section 3.2.6) from the front of s.
func token(s string) (word, rest string) {
	n := strings.IndexFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
	})
	if n < 0 {
		return s, ""
	}
	return s[:n], s[n:]
}

// parameter reads `=value` or `="value"` from the front of s.
func parameter(s string) (value, rest string, ok bool) {
	s, ok = strings.CutPrefix(strings.TrimLeft(s, " \t"), "=")
	if !ok {
		return "", "", false
	}
	s = strings.TrimLeft(s, " \t")
	if !strings.HasPrefix(s, `"`) {
		value, rest = token(s)
		return value, rest, true
	}
	return parseQuoted(s[1:])
}

// parseQuoted reads the rest of a quoted string (RFC 9110, section 5.6.4). s starts after the
// opening quote. If the closing quote is missing, ok is false and value is all of s.
func parseQuoted(s string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), "", false
}
