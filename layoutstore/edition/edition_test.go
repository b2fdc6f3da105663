package edition

import (
	"strings"
	"testing"
)

// The expected values are from deckhouse-cli, docs/mirror-bundle-layout.md of 2026-10-01. They are
// in the table "where each layout goes" and in the note on sources with one segment.
func TestSplitOfRoots(t *testing.T) {
	for _, test := range []struct {
		root, parent, sourceParent string
	}{
		{"deckhouse/ee", "deckhouse", "deckhouse"},
		{"deckhouse/ce", "deckhouse", "deckhouse"},
		{"deckhouse/be", "deckhouse", "deckhouse"},
		{"deckhouse/se", "deckhouse", "deckhouse"},
		{"deckhouse/se-plus", "deckhouse", "deckhouse"},
		{"deckhouse/fe", "deckhouse", "deckhouse"},
		{"deckhouse/cse", "deckhouse", "deckhouse"},
		{"mirror/of/deckhouse/fe", "mirror/of/deckhouse", "mirror/of/deckhouse"},
		{"ee/ee", "ee", "ee"},
		// These editions have no parent, so only the path of a source is split.
		{"ee", "ee", ""},
		{"se-plus", "se-plus", ""},
		// These paths do not end in an edition.
		{"", "", ""},
		{"deckhouse", "deckhouse", "deckhouse"},
		{"deckhouse/ee/x", "deckhouse/ee/x", "deckhouse/ee/x"},
		{"deckhouse/EE", "deckhouse/EE", "deckhouse/EE"},
		{"deckhouse/eee", "deckhouse/eee", "deckhouse/eee"},
		{"deckhouse/my-ee", "deckhouse/my-ee", "deckhouse/my-ee"},
		{"deckhouse/se-plus2", "deckhouse/se-plus2", "deckhouse/se-plus2"},
		{"deckhouse/plus", "deckhouse/plus", "deckhouse/plus"},
		{"deckhouse/oss", "deckhouse/oss", "deckhouse/oss"},
	} {
		for _, c := range []struct {
			what   string
			got    Split
			parent string
		}{{"root", Of(test.root), test.parent}, {"source", OfSource(test.root), test.sourceParent}, {"unsplit", Unsplit(test.root), test.root}} {
			if c.got.Root != test.root || c.got.Parent != c.parent || c.got.IsSplit() != (c.parent != test.root) || c.got.Reason == "" {
				t.Errorf("%s %q: got %+v, want the parent %q and a reason", c.what, test.root, c.got, c.parent)
			}
		}
	}
}

func TestNameAndAliasOfLayouts(t *testing.T) {
	for _, test := range []struct {
		split             Split
		path, name, alias string
	}{
		{Of("deckhouse/ee"), ".", "deckhouse/ee", ""},
		{Of("deckhouse/ee"), "install", "deckhouse/ee/install", ""},
		{Of("deckhouse/ee"), "install-standalone", "deckhouse/ee/install-standalone", ""},
		{Of("deckhouse/ee"), "installer-x/y", "deckhouse/ee/installer-x/y", ""},
		{Of("deckhouse/ee"), "modules/installer", "deckhouse/ee/modules/installer", ""},
		{Of("deckhouse/ee"), "modules/console/release", "deckhouse/ee/modules/console/release", ""},
		{Of("deckhouse/ee"), "installer", "deckhouse/installer", "deckhouse/ee/installer"},
		{Of("deckhouse/ee"), "installer/installer", "deckhouse/installer/installer", "deckhouse/ee/installer/installer"},
		{Of("deckhouse/ee"), "deckhouse-cli", "deckhouse/deckhouse-cli", "deckhouse/ee/deckhouse-cli"},
		{Of("deckhouse/ee"), "deckhouse-cli/plugins/x", "deckhouse/deckhouse-cli/plugins/x", "deckhouse/ee/deckhouse-cli/plugins/x"},
		{Of("deckhouse"), "installer", "deckhouse/installer", ""},
		{Of("ee"), "installer", "ee/installer", ""},
		{Of(""), "installer", "installer", ""},
		{Of(""), ".", "", ""},
		{Unsplit("deckhouse/ee"), "installer", "deckhouse/ee/installer", ""},
		{OfSource("ee"), "installer", "installer", "ee/installer"},
		{OfSource("ee"), "modules/x", "ee/modules/x", ""},
	} {
		if got := test.split.Name(test.path); got != test.name {
			t.Errorf("name of %s below %q: got %q, want %q", test.path, test.split.Root, got, test.name)
		}
		if got := test.split.Alias(test.path); got != test.alias {
			t.Errorf("alias of %s below %q: got %q, want %q", test.path, test.split.Root, got, test.alias)
		}
	}
}

// Different layouts below a root must have different names. An alias must not be the name of another layout.
func FuzzNamesDiffer(f *testing.F) {
	f.Add("deckhouse/ee", "installer", "modules/x")
	f.Add("ee", "deckhouse-cli", ".")
	f.Add("deckhouse/se-plus", "deckhouse-cli/plugins/x", "plugins/x")
	f.Fuzz(func(t *testing.T, root, a, b string) {
		for _, s := range []string{root, a, b} {
			if s == "" || strings.Trim(s, "/") != s || strings.Contains(s, "//") {
				t.Skip("the input is not a path")
			}
		}
		if a == b || root == "." {
			t.Skip("the inputs are not two layouts below a root")
		}
		s := Of(root)
		if s.Name(a) == s.Name(b) {
			t.Errorf("below the root %s, the layouts %s and %s both have the name %s, want different names", root, a, b, s.Name(a))
		}
		if alias := s.Alias(a); alias != "" && alias == s.Name(b) {
			t.Errorf("below the root %s, the alias of %s is also the name of %s: %s; want an alias that is no name", root, a, b, alias)
		}
	})
}
