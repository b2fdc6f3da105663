package client

import (
	"net/url"
	"slices"
	"strings"
)

// link is one link in a Link header (RFC 8288, section 3).
type link struct {
	target string
	rel    []string // relation types in lower case; nil if the link has no rel parameter
}

// parseLinks reads the values of Link headers (RFC 8288, appendix B.2). In targets and quoted
// strings, commas, semicolons and quotes are ordinary characters. Spaces may surround each
// delimiter. parseLinks also removes the single quotes in rel='next', which the standard does not
// define. After a syntax error, the rest of the value is skipped.
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

// linkRelations reads the parameters of a link from the front of s. It returns the relation types
// in the first parameter with the name rel.
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

// linkParameter reads `name`, `name=value` or `name="value"` from the front of s.
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
		value, rest, _ = parseQuoted(rest[1:])
		return name, value, rest
	}
	if n = strings.IndexAny(rest, ";,"); n < 0 {
		n = len(rest)
	}
	return name, strings.Trim(strings.TrimSpace(rest[:n]), "'"), rest[n:]
}

// nextLink returns the target of the next page from the Link headers of a page. It returns a link
// without a relation only if no link has the relation next. more reports whether there is another
// page, even if its target cannot be parsed.
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

// linkQuery returns the query of a link's target, escaped for a request. It ignores the rest of
// the target, because the client requests all pages at the same URL.
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
