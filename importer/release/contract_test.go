package release

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The annotation is JSON in base64. A plugin without one requires nothing.
func TestParseContract(t *testing.T) {
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	c, err := ParseContract(encode(`{"requirements":{"deckhouse":{"constraint":">=1.69"},"modules":{"mandatory":[{"name":"a","constraint":">=1"}]}}}`))
	if err != nil || c.Requirements.Deckhouse.Constraint != ">=1.69" || len(c.Requirements.Modules.Mandatory) != 1 {
		t.Errorf("%+v: %v", c, err)
	}
	if c, err := ParseContract(""); err != nil || !cmp.Equal(c, Contract{}) {
		t.Errorf("without an annotation: %+v: %v", c, err)
	}
	for _, bad := range []string{"%", encode("["), encode(`{"requirements":{"deckhouse":{"constraint":">=1"},"modules":7}}`)} {
		if c, err := ParseContract(bad); err == nil || !strings.Contains(err.Error(), "malformed contract") || !cmp.Equal(c, Contract{}) {
			t.Errorf("%q: %+v: %v", bad, c, err)
		}
	}
}

// A mandatory requirement wins over one in a group. An empty group stands for the module of its
// name.
func TestRequirementOf(t *testing.T) {
	var c Contract
	c.Requirements.Modules.Mandatory = []Requirement{{"a", ">=1"}}
	c.Requirements.Modules.AnyOf = []Group{
		{Name: "one of", Modules: []Requirement{{"a", ">=2"}, {"b", ">=3"}}},
		{Name: "c", Constraint: ">=4"},
	}
	for module, want := range map[string]Requirement{"a": {"a", ">=1"}, "b": {"b", ">=3"}, "c": {"c", ">=4"}, "one of": {}, "d": {}} {
		if got, ok := c.RequirementOf(module); got != want || ok != (want != Requirement{}) {
			t.Errorf("%s: %v, %v", module, got, ok)
		}
	}
}

// A version with a build suffix counts as the version without it. Only a constraint with a preview
// matches previews.
func TestRequirementFits(t *testing.T) {
	for _, c := range []struct {
		constraint, version string
		want                bool
	}{
		{"", "0.0.1", true},
		{">=1.2", "1.2.0", true},
		{">=1.2", "1.1.9", false},
		{">=1.2", "1.2.0-dkp1", true},
		{">=1.2", "1.3.0-rc.1", false},
		{">=1.2", "1.3.0-alpha", false},
		{">=1.2.0-rc.1", "1.2.0-rc.2", true},
	} {
		one, _ := Parse(c.version)
		r := Requirement{"m", c.constraint}
		if got, err := r.Fits(one.Version); got != c.want || err != nil {
			t.Errorf("%s fits %q: %v, %v", c.version, c.constraint, got, err)
		}
		if got, err := r.FitsAny(ParseAll([]string{"0.0.0", c.version})); got != c.want || err != nil {
			t.Errorf("0.0.0 or %s fits %q: %v, %v", c.version, c.constraint, got, err)
		}
	}
	r := Requirement{"m", "newest"}
	if ok, err := r.FitsAny(ParseAll([]string{"1.0.0"})); ok || err == nil || !strings.Contains(err.Error(), `"newest" of m`) {
		t.Errorf("%v, %v", ok, err)
	}
	if ok, err := r.FitsAny(nil); ok || err != nil {
		t.Errorf("no version fits: %v, %v", ok, err)
	}
	if a, b := (Requirement{"m", ""}).String(), (Requirement{"m", ">=1"}).String(); a != "m" || b != "m >=1" {
		t.Errorf("%q, %q", a, b)
	}
}
