package client

import (
	"slices"
	"strings"
	"testing"
)

// The test cases are the examples of RFC 8288 (sections 3 and 3.5, appendix B.2), and headers
// from public reports about registries and proxies.
func TestNextLink(t *testing.T) {
	for _, test := range []struct {
		values []string
		target string
		more   bool
	}{
		{nil, "", false},
		{[]string{""}, "", false},
		{[]string{`</v2/x?last=a>; rel="next"`}, "/v2/x?last=a", true},
		{[]string{`</v2/x?last=a>; rel = "next"`}, "/v2/x?last=a", true},
		{[]string{`</v2/x?last=a> ;  rel="next" ; `}, "/v2/x?last=a", true},
		{[]string{`</v2/x?last=a>;Rel=next`}, "/v2/x?last=a", true},
		{[]string{`</v2/x?last=a>;REL="NEXT"`}, "/v2/x?last=a", true},
		{[]string{`</v2/x?last=a>; rel='next'`}, "/v2/x?last=a", true},
		{[]string{`</v2/x?last=a>; rel="last next"`}, "/v2/x?last=a", true},
		{[]string{`</v2/x?last=a,b;c>; rel="next"`}, "/v2/x?last=a,b;c", true},
		{[]string{`</v2/x?last=a>; title="a, b; rel=prev"; rel="next"`}, "/v2/x?last=a", true},
		{[]string{`</v2/x?last=a>; title="\"<b>\", "; rel="next"`}, "/v2/x?last=a", true},
		{[]string{`</v2/x?last=a>`}, "/v2/x?last=a", true},
		{[]string{`< /v2/x?last=a >;rel=next`}, "/v2/x?last=a", true},
		{[]string{`<?last=a>; rel="next"`}, "?last=a", true},
		{[]string{`</p>; rel="prev", </n>; rel="next", </l>; rel="last"`}, "/n", true},
		{[]string{`</p>; rel="prev"`, `</n>; rel="next"`}, "/n", true},
		{[]string{`</p>; rel=prev,</n>; rel=next`}, "/n", true},
		{[]string{`</none>, </n>; rel=next`}, "/n", true},
		{[]string{`</n>; rel=prev; rel=next`}, "", false}, // only the first rel counts
		{[]string{`</p>; rel="prev"`}, "", false},
		{[]string{`</p>; rel="nextish"`}, "", false},
		{[]string{`</p>; title="rel=next"; rel=prev`}, "", false},
		{[]string{`/v2/x?last=a; rel="next"`}, "", true}, // not a valid link, but it shows that there is another page
		{[]string{`</v2/x?last=a; rel="next"`}, "", true},
		{[]string{`nonsense`, `</n>; rel=next`}, "/n", true},
	} {
		if target, more := nextLink(test.values); target != test.target || more != test.more {
			t.Errorf("nextLink(%q) = %q, %v; want %q, %v", test.values, target, more, test.target, test.more)
		}
	}
}

// parseLinks finds a target and its relation in one header or in several, whatever else the headers
// contain. Quoted text never becomes a link.
func FuzzLinks(f *testing.F) {
	f.Add("/v2/x?last=a,b", `a "title", </b>; rel=next`, "prev", " ", true)
	f.Add("?last=a;b", `\`, "next", "", false)
	f.Add("", "'", "first last", "\t", true)
	f.Fuzz(func(t *testing.T, target, title, rel, space string, apart bool) {
		target = strings.TrimSpace(strings.ReplaceAll(target, ">", ""))
		space = strings.Map(func(r rune) rune {
			if r == ' ' || r == '\t' {
				return r
			}
			return -1
		}, space)
		quote := func(s string) string { return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"` }
		parameters := ";" + space + "title" + space + "=" + space + quote(title) + space
		values := []string{
			"<before>" + parameters + ";rel=prev",
			"<" + target + ">" + parameters + "; rel" + space + "=" + space + quote(rel) + space + "; rel=ignored" + parameters,
			"<after>; rel*=next; rel=" + quote(""),
		}
		if !apart {
			values = []string{strings.Join(values, space+","+space)}
		}
		want := []link{{"before", []string{"prev"}}, {target, append([]string{}, strings.Fields(strings.ToLower(rel))...)}, {"after", []string{}}}
		same := func(a, b link) bool { return a.target == b.target && slices.Equal(a.rel, b.rel) }
		if got := parseLinks(values); !slices.EqualFunc(got, want, same) {
			t.Errorf("parseLinks(%q) = %q, want %q", values, got, want)
		}
		// parseLinks also reads any other header to its end. linkQuery returns a valid query.
		for _, l := range parseLinks([]string{target, title, rel}) {
			if query := linkQuery(l.target); strings.ContainsFunc(query, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '#' }) {
				t.Errorf("linkQuery returned %q, want a valid query", query)
			}
		}
	})
}
