package names_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/distribution/reference"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// These are the grammars of the distribution specification 1.1, copied without changes.
var (
	nameGrammar = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagGrammar  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

func FuzzNames(f *testing.F) {
	for _, s := range []string{"", "a", "deckhouse/ee", "a__b", "a___b", "a---b", "a..b", "a/", "/a", "a//b", "A", "a.", "-a",
		"a._b", "é", "a\n", strings.Repeat("a/", 127) + "a", strings.Repeat("a/", 127) + "aa", strings.Repeat("t", 128), strings.Repeat("t", 129), "v1.2", ".v", "_v"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := names.IsRepository(s), len(s) <= 255 && nameGrammar.MatchString(s); got != want {
			t.Errorf("IsRepository(%q) = %v, want %v as in the grammar", s, got, want)
		}
		if got, want := names.IsTag(s), tagGrammar.MatchString(s); got != want {
			t.Errorf("IsTag(%q) = %v, want %v as in the grammar", s, got, want)
		}
		// The registry builds links with distribution/reference, and clients parse names with it.
		// If a host comes first, distribution/reference must parse the complete name as the path.
		named, err := reference.WithName("x.y/" + s)
		legal := err == nil && reference.Path(named) == s
		if names.IsRepository(s) != (legal && len(s) <= 255) {
			t.Errorf("IsRepository(%q) = %v, want the same result as from distribution/reference, which returned the error %v", s, names.IsRepository(s), err)
		}
		if _, err := reference.WithTag(someName(t), s); names.IsTag(s) != (err == nil) {
			t.Errorf("IsTag(%q) = %v, want the same result as from distribution/reference, which returned the error %v", s, names.IsTag(s), err)
		}
	})
}

func someName(t *testing.T) reference.Named {
	t.Helper()
	named, err := reference.WithName("x.y/z")
	if err != nil {
		t.Fatal(err)
	}
	return named
}

// The error for an invalid name quotes the invalid part.
func TestErrorsForInvalidNames(t *testing.T) {
	long := strings.Repeat("a", 256)
	for s, want := range map[string]struct {
		err  error
		text string
	}{
		"":           {names.ErrEmpty, "empty"},
		long:         {names.ErrTooLong, "256 bytes, more than 255"},
		"a//b":       {names.ErrGrammar, `segment ""`},
		"modules/A":  {names.ErrGrammar, `segment "A"`},
		"a/b___c/d":  {names.ErrGrammar, `segment "b___c"`},
		"a/.hidden":  {names.ErrGrammar, `segment ".hidden"`},
		"../../root": {names.ErrGrammar, `segment ".."`},
		"a\x00":      {names.ErrGrammar, `segment "a\x00"`},
		"modules/a":  {nil, ""},
		"a.b_c__d-e": {nil, ""},
		long[:255]:   {nil, ""},
	} {
		checkReason(t, s, names.CheckRepository(s), want.err, want.text)
	}
	for s, want := range map[string]struct {
		err  error
		text string
	}{
		"":         {names.ErrEmpty, "empty"},
		long[:129]: {names.ErrTooLong, "129 bytes, more than 128"},
		"-v1":      {names.ErrGrammar, `begins with '-'`},
		".v1":      {names.ErrGrammar, `begins with '.'`},
		"v1+2":     {names.ErrGrammar, `contains '+'`},
		"v1/2":     {names.ErrGrammar, `contains '/'`},
		"_V1.2-3":  {nil, ""},
		long[:128]: {nil, ""},
	} {
		checkReason(t, s, names.CheckTag(s), want.err, want.text)
	}
}

func checkReason(t *testing.T, s string, got, want error, text string) {
	t.Helper()
	switch {
	case !errors.Is(got, want):
		t.Errorf("%q: got the error %v, want %v", s, got, want)
	case want != nil && !strings.Contains(got.Error(), text):
		t.Errorf("%q: got the error %q, want one that contains %q", s, got, text)
	}
}
