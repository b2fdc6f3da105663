package deckhouse_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/pull/deckhouse"
	"github.com/layoutproxy/layoutproxy/importer/pull/pulltest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// If one of the versions of a package cannot be read, a pull leaves out this package and reports it. It pulls
// the other packages. So does d8 mirror pull: see PullPackageVersions in internal/mirror/packages/packages.go of
// deckhouse/deckhouse-cli.
func TestUnreadablePackageVersions(t *testing.T) {
	s := newSynthetic(t)
	at := edition + "/packages"
	for _, name := range []string{"good", "refused", "absent", "damaged", "blocked", "unattested"} {
		s.image(at, name, nil)
		if name != "absent" {
			s.channel(at+"/"+name+"/version", "stable", "v1.0.0", false)
		}
	}
	s.channel(at+"/blocked/version", "v1.0.0", "v1.0.0", false)
	s.channel(at+"/unattested/version", "alpha", "v1.1.0", false)
	s.image(at+"/unattested/version", vex(s.tags[at+"/unattested/version:alpha"]), nil)
	s.writeAll()
	bad := s.tags[at+"/damaged/version:stable"]
	r, _ := pulltest.Serve(t, s.tree.Dir())
	r.Inject(registrytest.Answer(func(q *http.Request) bool { return strings.Contains(q.URL.Path, "/refused/version/") }, http.StatusForbidden))
	r.Inject(registrytest.Answer(pulltest.At(at+"/blocked/version/manifests/v1.0.0"), http.StatusForbidden))     // after the tag stable was read
	r.Inject(registrytest.Answer(pulltest.At(at+"/unattested/version/manifests/sha256-"), http.StatusForbidden)) // after the tag alpha was read
	r.Inject(func(w http.ResponseWriter, q *http.Request, _ http.Handler) bool {
		if strings.HasSuffix(q.URL.Path, "/damaged/version/manifests/stable") || strings.HasSuffix(q.URL.Path, bad.String()) {
			w.Header().Set("Content-Type", specs.MediaTypeImageManifest)
			_, _ = w.Write([]byte(`{"schemaVersion":2,"mediaType":"` + specs.MediaTypeImageManifest + `","config":7}`))
			return true
		}
		return false
	})
	o := options(t, r, edition)
	o.Planner = selecting(only(func(*deckhouse.Selection) {}))
	report, err := pull.Run(t.Context(), o, nil)
	layouttest.Try(t, err)
	want := map[string]string{at + "/good/version:stable": s.tags[at+"/good/version:stable"].String()}
	if diff := cmp.Diff(want, pulltest.Listed(t, pulltest.OpenAt(t, edition, o.Dir))); diff != "" {
		t.Error(diff)
	}
	expectMissing(t, report, at+"/refused/version: cannot read the versions of the package", at+"/absent/version: cannot read the versions of the package", at+"/damaged/version",
		at+"/blocked/version: cannot read the versions of the package", at+"/unattested/version: cannot read the versions of the package")
}

// If the source does not have a blob of a package's version, or has it damaged, a pull leaves out the versions
// of this package, as it does for a manifest. So does d8 mirror pull: see PullPackageVersions in
// internal/mirror/packages/packages.go of deckhouse/deckhouse-cli ("Failed to pull release images for package").
func TestPackageVersionsWithoutABlob(t *testing.T) {
	s := newSynthetic(t)
	at := edition + "/packages"
	for _, name := range []string{"good", "absent", "damaged"} {
		s.image(at, name, nil)
		s.image(at+"/"+name+"/version", "stable", nil)
	}
	s.writeAll()
	r, _ := pulltest.Serve(t, s.tree.Dir())
	r.Inject(pulltest.Absent(at + "/absent/version/blobs/"))
	r.Inject(registrytest.Spoil(pulltest.At(at+"/damaged/version/blobs/"), registrytest.FlipBit))
	for _, form := range []struct{ tree, allowIncomplete bool }{{false, false}, {true, false}, {false, true}} {
		o := options(t, r, edition)
		o.Planner = selecting(only(func(*deckhouse.Selection) {}))
		o.Tree, o.AllowIncomplete = form.tree, form.allowIncomplete
		report := pulltest.Run(t, o)
		got := pulltest.OpenAt(t, edition, o.Dir)
		pulltest.Intact(t, got)
		want := map[string]string{at + "/good/version:stable": s.tags[at+"/good/version:stable"].String()}
		if diff := cmp.Diff(want, pulltest.Listed(t, got)); diff != "" {
			t.Errorf("%+v: %s", form, diff)
		}
		if len(report.Problems) > 0 {
			t.Errorf("%+v: got the problems %v, want none", form, report.Problems)
		}
		expectMissing(t, report, at+"/absent/version", at+"/damaged/version")
	}
}
