package deckhouse_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/pull/deckhouse"
	"github.com/layoutproxy/layoutproxy/importer/pull/pulltest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// The attestations of the platform, modules and packages are pulled, whether their own tags contain
// an image's tag or its digest. Attestations of extra images are pulled from the module's
// repository, but not from the repositories of the extra images.
func TestAttestations(t *testing.T) {
	s := newSynthetic(t)
	s.build(edition, "v1.68.1", 1)
	s.channel(edition+"/release-channel", "v1.68.1", "v1.68.1", false)
	want := s.wanted(build("v1.68.1") + pinned("v1.68.1", "v1.68.1"))
	att := func(repository, tag string) {
		want[edition+strings.TrimPrefix(repository, edition)+":"+tag] = s.image(repository, tag, nil).Digest.String()
	}
	att(edition, "v1.68.1.att")
	att(edition+"/install", "v1.68.1.att")
	for _, family := range []string{"modules", "packages"} {
		at := edition + "/" + family + "/a"
		releases := map[string]string{"modules": "release", "packages": "version"}[family]
		s.image(edition+"/"+family, "a", nil)
		want[at+":v1.0.0"] = s.image(at, "v1.0.0", map[string]string{"extra_images.json": `{"scanner": 7}`}).Digest.String()
		s.channel(at+"/"+releases, "v1.0.0", "v1.0.0", false)
		s.channel(at+"/"+releases, "stable", "v1.0.0", false)
		for _, tag := range []string{"v1.0.0", "stable"} {
			want[at+"/"+releases+":"+tag] = s.tags[at+"/"+releases+":"+tag].String()
		}
		extra := s.image(at+"/extra/scanner", "7", nil)
		want[at+"/extra/scanner:7"] = extra.Digest.String()
		att(at, "v1.0.0.att")
		att(at, "7.att")
		att(at, vex(extra.Digest))
		s.image(at+"/extra/scanner", "7.att", nil)
		s.image(at+"/extra/scanner", vex(extra.Digest), nil)
		s.image(at, "v9.9.9.att", nil) // this attestation belongs to an image that is not pulled
	}
	s.writeAll()
	r, _ := pulltest.Serve(t, s.tree.Dir())
	o := options(t, r, edition)
	o.Planner = selecting(deckhouse.Selection{DeckhouseTag: "v1.68.1"})
	pulltest.Run(t, o)
	if diff := cmp.Diff(want, pulltest.Listed(t, pulltest.OpenAt(t, edition, o.Dir))); diff != "" {
		t.Error(diff)
	}
	o.Planner, o.Dir = selecting(deckhouse.Selection{DeckhouseTag: "v1.68.1", SkipVexImages: true}), t.TempDir()
	pulltest.Run(t, o)
	for key := range want {
		if strings.HasSuffix(key, ".att") {
			delete(want, key)
		}
	}
	if diff := cmp.Diff(want, pulltest.Listed(t, pulltest.OpenAt(t, edition, o.Dir))); diff != "" {
		t.Errorf("with SkipVexImages, tags of the bundle (-want +got): %s", diff)
	}
}

// If an installer lists both tags and digests, the pull uses the tags. The listed tags are pulled
// unchanged. An image without either list is not an installer.
func TestInstallerLists(t *testing.T) {
	const tags, digests = "deckhouse/candi/images_tags.json", "deckhouse/candi/images_digests.json"
	for name, test := range map[string]struct {
		files map[string]string
		want  string
		err   string
	}{
		"tags":    {map[string]string{tags: `{"m":{"a":"A_b.1-x"}}`}, ":A_b.1-x", ""},
		"both":    {map[string]string{tags: `{"m":{"a":"A_b.1-x"}}`, digests: `{"m":{"a":"sha256:` + strings.Repeat("ab", 32) + `"}}`}, ":A_b.1-x", ""},
		"neither": {map[string]string{"etc/passwd": ""}, "", "has neither " + tags + " nor " + digests},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSynthetic(t)
			s.image(edition, "A_b.1-x", nil)
			s.image(edition, "dev", nil)
			s.image(edition+"/install", "dev", test.files)
			o := deckhouse.Selection{DeckhouseTag: "dev", NoSecurityDB: true, NoModules: true, NoPackages: true, NoInstaller: true}
			if test.err == "" {
				pulled(t, s, o, ":dev, install:dev,"+test.want)
				return
			}
			s.writeAll()
			r, _ := pulltest.Serve(t, s.tree.Dir())
			p := options(t, r, edition)
			p.Planner = selecting(o)
			var incomplete *pull.IncompleteError
			if _, err := pull.Run(t.Context(), p, nil); !errors.As(err, &incomplete) || !strings.Contains(err.Error(), test.err) {
				t.Error(err)
			}
		})
	}
}

// If a tag leads to an index, the bundle has only the index's linux/amd64 image under this tag. The
// indexes of the d8 program and its plugins are pulled completely, and so are indexes that are
// requested by digest.
func TestIndexesInBundles(t *testing.T) {
	s := newSynthetic(t)
	at := edition + "/modules/a"
	named := s.multi(at, "named", nil)
	s.tag(at, named, "")
	l := s.tree.Layout(at)
	amd := l.Image(layouttest.Image{Name: "module", Platform: &specs.Platform{OS: "linux", Architecture: "x86_64"},
		Files: map[string]string{"images_digests.json": jsonOf([]string{named.Digest.String()})}})
	arm := l.Image(layouttest.Image{Name: "arm", Platform: &specs.Platform{OS: "linux", Architecture: "arm64"}})
	s.tag(at, l.Index(layouttest.Index{Children: []specs.Descriptor{arm, amd}}), "v1.0.0")
	s.image(edition+"/modules", "a", nil)
	s.channel(at+"/release", "alpha", "v1.0.0", false)
	s.program()
	s.writeAll()
	r, _ := pulltest.Serve(t, s.tree.Dir())
	o := options(t, r, edition)
	o.Planner = selecting(only(func(s *deckhouse.Selection) { s.NoModules = false }))
	pulltest.Run(t, o)
	want := map[string]string{
		at + ":v1.0.0":                     amd.Digest.String(),
		at + ":" + named.Digest.Encoded():  named.Digest.String(),
		at + "/release:alpha":              s.tags[at+"/release:alpha"].String(),
		edition + "/deckhouse-cli:v0.13.1": s.tags["deckhouse/deckhouse-cli:v0.13.1"].String(),
	}
	got := pulltest.OpenAt(t, edition, o.Dir)
	pulltest.Intact(t, got)
	if diff := cmp.Diff(want, pulltest.Listed(t, got)); diff != "" {
		t.Error(diff)
	}
}
