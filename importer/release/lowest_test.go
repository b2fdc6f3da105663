package release

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// A range starts at the lowest version that it mentions. Upper bounds and excluded versions do not count.
func TestLowestVersionOfRange(t *testing.T) {
	for text, want := range map[string]string{
		"1.3.0":                       "1.3.0",
		"~1.3":                        "1.3.0",
		">1.3.0":                      "1.3.1",
		">=2.0.0 !=1.0.0":             "2.0.0",
		"!=1.0.0 >=2.0.0":             "2.0.0",
		">=2.0.0 >=1.0.0":             "1.0.0",
		">=1.0.0 >=2.0.0":             "1.0.0",
		">=2.0.0 <=1.0.0":             "2.0.0",
		">=2.0.0 <1.0.0":              "2.0.0",
		"<1.0.0":                      "",
		"!=1.0.0":                     "",
		"1.x.99999999999999999999999": "1.0.0", // everything after the wildcard is ignored
		"  >=1.2.0  ":                 "1.2.0",
	} {
		c, err := ParseConstraint(text)
		if err != nil || len(c.Ranges) != 1 || c.Text != strings.TrimSpace(text) {
			t.Errorf("parsing the constraint %q: got %+v, error %v; want one range, the text %q, and no error", text, c, err, strings.TrimSpace(text))
			continue
		}
		got := ""
		if c.Ranges[0].Lowest != nil {
			got = c.Ranges[0].Lowest.String()
		}
		if got != want || c.HasStart() != (want != "") {
			t.Errorf("start of the range %q = %q, want %q", text, got, want)
		}
	}
	for _, bad := range []string{"", " ", "1.2 || newest", "newest || 1.2", "1.2 ||", "||"} {
		if c, err := ParseConstraint(bad); err == nil || c != nil {
			t.Errorf("%q: %+v", bad, c)
		}
	}
	if c, err := ParseConstraint(" = v1.2 "); err != nil || c.Tag != "v1.2" || c.Text != "= v1.2" {
		t.Errorf("%+v, %v", c, err)
	}
}

// References returns sorted references without duplicates.
func TestReferences(t *testing.T) {
	long := digest.SHA512.FromString("x").String()
	images, err := ParseDigests([]byte(`{"a":"` + long + `"}`))
	if err != nil || len(images) != 0 {
		t.Errorf("%v, %v", images, err)
	}
	if got := strings.Join(References([]Image{{"a", "z"}, {"b", "y"}, {"c", "z"}}), " "); got != "y z" {
		t.Errorf("%q", got)
	}
}
