package release

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

func TestChooseByConstraint(t *testing.T) {
	tags := []string{"v1.0.0", "v1.0.4", "v1.1.0", "v1.1.3", "1.1.3", "v1.2.0", "v1.3.0-rc.1", "v2.0.0", "v0.3.1", "v0.4.2", "stable", "v1", "latest"}
	for text, want := range map[string][]string{
		"1.1.0":            {"v1.1.3", "v1.2.0"},
		"v1":               {"v1.0.4", "v1.1.3", "v1.2.0"},
		"0.3.0":            {"v0.3.1", "v0.4.2"}, // selects higher minor versions, too, unlike ^0.3.0
		"~1.1.0":           {"v1.1.3"},
		"^1.1.0":           {"v1.1.3", "v1.2.0"},
		">=1.1.0":          {"v1.1.0", "v1.1.3", "v1.2.0", "v2.0.0"},
		">=1.0.0 <=1.1.0":  {"v1.0.0", "v1.0.4", "v1.1.0"},
		">=1.0.0, <=1.1.0": {"v1.0.0", "v1.0.4", "v1.1.0"},
		">=1.0 <=1.1":      {"v1.0.0", "v1.0.4", "v1.1.0", "v1.1.3"},
		">1.0.0 <1.2":      {"v1.0.4", "v1.1.3"},
		">= 1.1.1 < 2":     {"v1.1.3", "v1.2.0"}, // 1.1.1 is not selected, as there is no such tag
		">=3":              nil,
		"~1.0.0 || 2.0":    {"v1.0.4", "v2.0.0"},
	} {
		c, err := ParseConstraint(text)
		layouttest.Try(t, err)
		if diff := cmp.Diff(want, c.Choose(tags)); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
	for text, want := range map[string][2]string{"=v1.0.0": {"v1.0.0", ""}, "= pr42": {"pr42", ""}, "=v1.0.0+stable": {"v1.0.0", "stable"}, "=x+lts": {"x", "lts"}} {
		c, err := ParseConstraint(text)
		layouttest.Try(t, err)
		if len(c.Ranges) > 0 || c.Tag != want[0] || c.Channel != want[1] {
			t.Errorf("%s: %+v", text, c)
		}
	}
	for text, want := range map[string]string{"1.3": "1.3.0", "~1.3.0": "1.3.0", ">=1.64 <=1.68": "1.64.0", "<=1.68 >=1.64": "1.64.0", "^2.1": "2.1.0", ">1.2.3": "1.2.4", "<2": "", "<=1.1": "",
		"1.2 || ~3.1": "1.2.0 3.1.0", "<1.2 || >=3": "3.0.0"} {
		c, err := ParseConstraint(text)
		layouttest.Try(t, err)
		var starts []string
		for _, p := range c.Ranges {
			if p.Lowest != nil {
				starts = append(starts, p.Lowest.String())
			}
		}
		if got := strings.Join(starts, " "); got != want {
			t.Errorf("lowest version of %s = %q, want %q", text, got, want)
		}
		if c.HasStart() != (len(starts) == len(c.Ranges)) {
			t.Errorf("HasStart of the constraint %s = %v, want %v", text, c.HasStart(), !c.HasStart())
		}
	}
	for _, bad := range []string{"", " ", "=", "=+stable", "=v1+", "=v1+nightly", "=>1.0", "=v1 0", "stable", ">=", "1.2.3.4", "a b", "1 ||", "|| 1"} {
		if _, err := ParseConstraint(bad); err == nil {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// For any constraint, Choose returns tags of the list in ascending order, without duplicates. They include
// the highest matching patch of each minor version.
func FuzzConstraint(f *testing.F) {
	f.Add(">=1.0.0 <=1.1.0", uint8(3), uint8(4))
	f.Add("~1.1", uint8(0), uint8(0))
	f.Add("=v1+stable", uint8(1), uint8(1))
	f.Add("1.2.3-rc.1 || ^2", uint8(9), uint8(2))
	f.Fuzz(func(t *testing.T, text string, minors, patches uint8) {
		c, err := ParseConstraint(text)
		if err != nil {
			return
		}
		if len(c.Ranges) == 0 {
			if c.Tag == "" {
				t.Fatalf("the constraint %q has neither ranges nor a tag, want one of them", text)
			}
			return
		}
		var tags []string
		for minor := range minors % 8 {
			for patch := range patches % 8 {
				tags = append(tags, "v1."+string('0'+minor)+"."+string('0'+patch))
			}
		}
		chosen := c.Choose(tags)
		if !slices.IsSorted(chosen) || len(slices.Compact(slices.Clone(chosen))) != len(chosen) {
			t.Fatalf("%q chooses the tags %q, want ascending tags without duplicates", text, chosen)
		}
		for _, tag := range tags {
			r, _ := Parse(tag)
			fits := c.Matches(r.Version)
			if slices.Contains(chosen, tag) && !fits {
				t.Fatalf("%q chooses the tag %s, want only tags that match", text, tag)
			}
			if fits && !slices.ContainsFunc(chosen, func(other string) bool { return other[:4] == tag[:4] && other >= tag }) {
				t.Fatalf("%q matches the tag %s, so want this tag or a higher one of its minor version; chosen: %q", text, tag, chosen)
			}
		}
	})
}
