package release

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ParseContract decodes JSON in base64. A plugin without the annotation requires nothing.
func TestParseContract(t *testing.T) {
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	c, err := ParseContract(encode(`{"requirements":{"deckhouse":{"constraint":">=1.69"},"modules":{"mandatory":[{"name":"a","constraint":">=1"}]}}}`))
	if err != nil || c.Requirements.Deckhouse.Constraint != ">=1.69" || len(c.Requirements.Modules.Mandatory) != 1 {
		t.Errorf("%+v: %v", c, err)
	}
	if c, err := ParseContract(""); err != nil || !cmp.Equal(c, Contract{}) {
		t.Errorf("ParseContract of an empty annotation = %+v, error %v; want an empty contract and no error", c, err)
	}
	for _, bad := range []string{"%", encode("["), encode(`{"requirements":{"deckhouse":{"constraint":">=1"},"modules":7}}`)} {
		if c, err := ParseContract(bad); err == nil || !strings.Contains(err.Error(), "malformed contract") || !cmp.Equal(c, Contract{}) {
			t.Errorf("ParseContract(%q) = %+v, error %v; want an empty contract, and an error about a malformed contract", bad, c, err)
		}
	}
}

// A mandatory requirement of a module takes precedence over a requirement in a group. A group without modules
// means the module that has the group's name.
func TestRequirementOf(t *testing.T) {
	var c Contract
	c.Requirements.Modules.Mandatory = []Requirement{{"a", ">=1"}}
	c.Requirements.Modules.AnyOf = []Group{
		{Name: "one of", Modules: []Requirement{{"a", ">=2"}, {"b", ">=3"}}},
		{Name: "c", Constraint: ">=4"},
	}
	for module, want := range map[string]Requirement{"a": {"a", ">=1"}, "b": {"b", ">=3"}, "c": {"c", ">=4"}, "one of": {}, "d": {}} {
		if got, ok := c.RequirementOf(module); got != want || ok != (want != Requirement{}) {
			t.Errorf("RequirementOf(%s) = %v, %v; want %v, and true unless it is empty", module, got, ok, want)
		}
	}
}

// Fits ignores a build suffix. A preview satisfies only a constraint that contains a preview.
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
			t.Errorf("Fits of version %s and constraint %q = %v, error %v; want %v and no error", c.version, c.constraint, got, err, c.want)
		}
		if got, err := r.FitsAny(ParseAll([]string{"0.0.0", c.version})); got != c.want || err != nil {
			t.Errorf("FitsAny of the versions 0.0.0 and %s, and constraint %q = %v, error %v; want %v and no error", c.version, c.constraint, got, err, c.want)
		}
	}
	r := Requirement{"m", "newest"}
	if ok, err := r.FitsAny(ParseAll([]string{"1.0.0"})); ok || err == nil || !strings.Contains(err.Error(), `"newest" of m`) {
		t.Errorf("%v, %v", ok, err)
	}
	if ok, err := r.FitsAny(nil); ok || err != nil {
		t.Errorf("FitsAny without versions = %v, error %v; want false and no error", ok, err)
	}
	if a, b := (Requirement{"m", ""}).String(), (Requirement{"m", ">=1"}).String(); a != "m" || b != "m >=1" {
		t.Errorf("%q, %q", a, b)
	}
}
