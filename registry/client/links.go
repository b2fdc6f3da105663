package client

import (
	"net/url"
	"slices"
	"strings"
)

// link is a link of a Link header (RFC 8288, section 3).
type link struct {
	target string
	rel    []string // relation types in lower case; nil where there is no rel at all
}

// parseLinks reads the values of Link headers as RFC 8288, appendix B.2, does: commas,
// semicolons and quotes are taken for what they are in targets and in quoted strings, and
// spaces may stand around each sign. Beyond the standard, the quotes of rel='next' are no
// part of it. Where something is no link, the rest of that value is left out.
func parseLinks(values []string) (links []link) {
	for _, s := range values {
		for {
			s = strings.TrimLeft(s, " \t,")
			target, rest, ok := strings.Cut(s, ">")
			if !ok || !strings.HasPrefix(target, "<") {
				break
			}
			l := link{target: strings.TrimSpace(target[1:])}
			l.rel, s = linkRelations(rest)
			links = append(links, l)
		}
	}
	return links
}

// linkRelations reads the parameters of a link at the front of s. The first rel counts.
func linkRelations(s string) (rel []string, rest string) {
	for {
		s = strings.TrimLeft(s, " \t")
		if s == "" || s[0] == ',' {
			return rel, s
		}
		var name, value string
		name, value, s = linkParameter(strings.TrimLeft(s, "; \t"))
		if rel == nil && strings.EqualFold(name, "rel") {
			rel = append([]string{}, strings.Fields(strings.ToLower(value))...)
		}
	}
}

// linkParameter reads `name`, `name=value` or `name="value"` at the front of s.
func linkParameter(s string) (name, value, rest string) {
	n := strings.IndexAny(s, "=;,")
	if n < 0 {
		return strings.TrimSpace(s), "", ""
	}
	name, rest = strings.TrimSpace(s[:n]), s[n:]
	if rest[0] != '=' {
		return name, "", rest
	}
	rest = strings.TrimLeft(rest[1:], " \t")
	if strings.HasPrefix(rest, `"`) {
		value, rest = quoted(rest[1:])
		return name, value, rest
	}
	if n = strings.IndexAny(rest, ";,"); n < 0 {
		n = len(rest)
	}
	return name, strings.Trim(strings.TrimSpace(rest[:n]), "'"), rest[n:]
}

// quoted reads a quoted string behind its first quote; one without an end ends with s.
func quoted(s string) (value, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:]
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}

// nextLink is where the Link headers of a page lead: to what has the relation next, or
// where nothing has it, to what has no relation. more says that there is another page,
// also where no target could be read.
func nextLink(values []string) (target string, more bool) {
	links := parseLinks(values)
	for _, wanted := range []func(link) bool{
		func(l link) bool { return slices.Contains(l.rel, "next") },
		func(l link) bool { return len(l.rel) == 0 },
	} {
		if i := slices.IndexFunc(links, wanted); i >= 0 {
			return links[i].target, true
		}
	}
	return "", len(links) == 0 && strings.TrimSpace(strings.Join(values, "")) != ""
}

// linkQuery is the query of a link's target, fit to be sent. What else the target says
// is no matter: the list that was asked is the one that goes on.
func linkQuery(target string) string {
	query := ""
	if u, err := url.Parse(target); err == nil {
		query = u.RawQuery
	} else {
		_, query, _ = strings.Cut(target, "?")
		query, _, _ = strings.Cut(query, "#")
	}
	var b strings.Builder
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c >= 0x7f {
			b.WriteString(url.QueryEscape(string([]byte{c})))
			continue
		}
		b.WriteByte(query[i])
	}
	return b.String()
}
