package layoutstore

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBallotCountsRoots(t *testing.T) {
	for _, c := range []struct {
		short, ref, path string
		votes, weak      string
	}{
		{"v1", "registry.example/deckhouse/ee/install:v1", "install", "deckhouse/ee", ""},
		{"", "registry.example/deckhouse/ee/install:v1", "install", "deckhouse/ee", ""},
		{"v1", "registry.example/deckhouse/ee:v1", ".", "deckhouse/ee", ""},
		{"v1", "registry.example/deckhouse/ee/modules/installer:v1", "modules/installer", "deckhouse/ee", ""},
		// Whether these references contain the root or its parent depends on the version of the tool.
		{"latest", "registry.example/deckhouse/installer:latest", "installer", "", "deckhouse"},
		{"latest", "registry.example/deckhouse/ee/installer:latest", "installer", "", "deckhouse/ee"},
		{"v1", "registry.example/deckhouse/deckhouse-cli:v1", "deckhouse-cli", "", "deckhouse"},
		{"v1", "registry.example/deckhouse/deckhouse-cli/plugins/x:v1", "deckhouse-cli/plugins/x", "", "deckhouse"},
		// This reference of an alias was cut at the colon before the port.
		{"alpha", "localhost:alpha", ".", "", "localhost"},
		{"alpha", "registry.example:alpha", "release-channel", "", ""},
		{"", "app:1.0", ".", "app", ""},
		{"", "1.0", ".", "", ""},
	} {
		var b ballot
		b.add(annotationsDoc{ShortTag: c.short, RefName: c.ref}, c.path)
		for _, half := range []struct {
			got  map[string]int
			want string
		}{{b.votes, c.votes}, {b.weak, c.weak}} {
			want := map[string]int{}
			if half.want != "" {
				want[half.want] = 1
			}
			if !maps.Equal(want, half.got) {
				t.Errorf("reference %s of the layout %s: got votes %v, want %v", c.ref, c.path, half.got, want)
			}
		}
	}
}

func TestCatalogOfPackagesComesFirst(t *testing.T) {
	for name, c := range map[string]struct{ sources, want []string }{
		"none":                                 {[]string{"b.tar", "a.tar", "dir"}, []string{"b.tar", "a.tar", "dir"}},
		"first":                                {[]string{"package-versions.tar", "package-a.tar"}, []string{"package-versions.tar", "package-a.tar"}},
		"sources in the order of a shell glob": {[]string{"d/package-a.tar", "d/package-versions.tar", "d/platform.tar"}, []string{"d/package-versions.tar", "d/package-a.tar", "d/platform.tar"}},
		"chunks":                               {[]string{"package-a.tar.0000.chunk", "./package-versions.tar.0003.chunk"}, []string{"./package-versions.tar.0003.chunk", "package-a.tar.0000.chunk"}},
		"another directory":                    {[]string{"old/package-a.tar", "new/package-versions.tar"}, []string{"old/package-a.tar", "new/package-versions.tar"}},
		"after a directory":                    {[]string{"d", "d/x.tar", "d/package-versions.tar"}, []string{"d", "d/package-versions.tar", "d/x.tar"}},
		"a similar name":                       {[]string{"package-a.tar", "package-versions2.tar"}, []string{"package-a.tar", "package-versions2.tar"}},
		"archives in two directories": {[]string{"a/x.tar", "b/x.tar", "a/package-versions.tar", "b/package-versions.tar"},
			[]string{"a/package-versions.tar", "a/x.tar", "b/package-versions.tar", "b/x.tar"}},
	} {
		given := append([]string(nil), c.sources...)
		if diff := cmp.Diff(c.want, catalogFirst(given)); diff != "" {
			t.Errorf("%s: catalogFirst (-want +got): %s", name, diff)
		}
		if diff := cmp.Diff(c.sources, given); diff != "" {
			t.Errorf("%s: list of the caller after catalogFirst (-want +got): %s", name, diff)
		}
	}
}

func TestFindOwnerOfRootLayout(t *testing.T) {
	named := []string{"app", "db", "team/web"}
	for name, c := range map[string]struct {
		served  []string
		elected string
		want    string
	}{
		"one reference is a name":                             {[]string{"db"}, "app", "db"},
		"one reference is a name, of two names":               {[]string{"mirror/x", "team/web"}, "app", "team/web"},
		"no reference is a name, but one is the elected root": {[]string{"mirror/x"}, "app", "app"},
		"two references are names":                            {[]string{"app", "db"}, "app", ""},
		"no reference is a name or the elected root":          {[]string{"mirror/x"}, "deckhouse/ee", ""},
		"the layout has no name":                              {nil, "", ""},
	} {
		isServed := func(name string) bool { return slices.Contains(c.served, name) }
		if got := findOwner(named, isServed, c.elected); got != c.want {
			t.Errorf("%s: got owner %q, want %q", name, got, c.want)
		}
	}
}
