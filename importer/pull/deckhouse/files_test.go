package deckhouse_test

import (
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/pull/deckhouse"
	"github.com/layoutproxy/layoutproxy/importer/pull/pulltest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// A pull reads a file of an image in the same way from the network and from disk. If a layer cannot
// be read or the file is invalid, the pull fails and names the image.
func TestFilesOfImages(t *testing.T) {
	for name, test := range map[string]struct {
		// layers are the layers of the image, the lowest first.
		layers [][]byte
		// want is the version that is read, or part of the error.
		want string
	}{
		"in two layers":    {[][]byte{layouttest.TarOf(t, "version.json", `{"version":"v1.0.0"}`), layouttest.TarOf(t, "version.json", `{"version":"v1.0.1"}`)}, "v1.0.1"},
		"not in any layer": {[][]byte{layouttest.TarOf(t, "other", "x")}, "no version.json"},
		"no archive":       {[][]byte{[]byte(strings.Repeat("none", 300))}, "invalid tar header"},
		"no JSON":          {[][]byte{layouttest.TarOf(t, "version.json", "v1.0.0")}, "invalid character"},
		"no version":       {[][]byte{layouttest.TarOf(t, "version.json", "{}")}, "has no version"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSynthetic(t)
			const releases = edition + "/modules/console/release"
			s.image(edition+"/modules", "console", nil)
			for _, v := range []string{"v1.0.0", "v1.0.1"} {
				s.image(edition+"/modules/console", v, map[string]string{"x": "x"})
			}
			s.tag(releases, s.tree.Layout(releases).Image(layouttest.Image{Name: name, Layers: test.layers}), "stable")
			s.writeAll()
			r, _ := pulltest.Serve(t, s.tree.Dir())
			o := options(t, r, edition)
			o.Planner = selecting(only(func(s *deckhouse.Selection) { s.NoModules = false }))
			for range 2 { // the first read is from the network, the second from disk
				plan, err := pull.Dry(t.Context(), o, nil)
				if !strings.HasPrefix(test.want, "v") {
					if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), releases+":stable") {
						t.Errorf("got error %v, want one that contains %q and names the image", err, test.want)
					}
					if _, err := pull.Run(t.Context(), o, nil); err == nil {
						t.Error("the pull returned no error, want one because the file cannot be read")
					}
					return
				}
				layouttest.Try(t, err)
				if got := plan.Components[0].Channels["stable"]; got != test.want {
					t.Errorf("channel stable points at %s, want %s", got, test.want)
				}
				pulltest.Run(t, o)
			}
		})
	}
}
