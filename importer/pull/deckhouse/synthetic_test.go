package deckhouse_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/pull/deckhouse"
	"github.com/layoutproxy/layoutproxy/importer/pull/pulltest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

const edition = "deckhouse/ee"

type synthetic struct {
	t    *testing.T
	tree *layouttest.Tree
	// names maps a version to the digests of the images that the version declares. For the
	// platform, a version is written as "v1.70.1"; for a module, as "console v1.1.0".
	names map[string][]digest.Digest
	tags  map[string]digest.Digest // digest of each tag, by REPOSITORY:TAG
	count int
}

func newSynthetic(t *testing.T) *synthetic {
	return &synthetic{t: t, tree: layouttest.New(t, t.TempDir()), names: map[string][]digest.Digest{}, tags: map[string]digest.Digest{}}
}

// image adds an image with files to a repository. If tag is empty, the image gets its digest as its
// tag.
func (s *synthetic) image(repository, tag string, files map[string]string) specs.Descriptor {
	l := s.tree.Layout(repository)
	s.count++
	i := layouttest.Image{Name: fmt.Sprintf("%s:%s %d", repository, tag, s.count), Docker: s.count%2 == 0, Files: files}
	if files == nil { // these layers are not tar archives, because no pull reads files from this image
		i.LayerSizes = []int64{int64(100 + s.count)}
	}
	d := l.Image(i)
	return s.tag(repository, d, tag)
}

func (s *synthetic) tag(repository string, d specs.Descriptor, tag string) specs.Descriptor {
	if tag == "" {
		tag = d.Digest.Encoded() // no pull requests this tag, but it keeps the image in the source
	}
	s.tree.Layout(repository).Tag(d, tag)
	s.tags[repository+":"+tag] = d.Digest
	return d
}

func jsonOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// channel adds a release channel, or the release image of a version, to a repository.
func (s *synthetic) channel(repository, tag, version string, suspend bool) {
	l := s.tree.Layout(repository)
	s.count++
	d := l.Image(layouttest.Image{Name: repository + tag, Docker: s.count%2 == 0,
		Files: map[string]string{"version.json": jsonOf(map[string]any{"version": version, "suspend": suspend})}})
	s.tag(repository, d, tag)
}

// build adds one build of the platform with n internal images and an attestation of the first one.
func (s *synthetic) build(root, version string, n int) {
	names := map[string]map[string]string{"module": {}}
	for i := range n {
		d := s.image(root, "", nil)
		s.names[version] = append(s.names[version], d.Digest)
		names["module"][fmt.Sprint("image", i)] = d.Digest.String()
	}
	s.image(root, version, nil)
	s.image(root+"/install", version, map[string]string{"deckhouse/candi/images_digests.json": jsonOf(names), "etc/os-release": "x"})
	s.image(root+"/install-standalone", version, nil)
	s.channel(root+"/release-channel", version, version, false)
	if n > 0 {
		s.image(root, vex(s.names[version][0]), nil)
	}
}

func vex(d digest.Digest) string { return "sha256-" + d.Encoded() + ".att" }

// member adds a version of a module or package. The version has one internal image.
func (s *synthetic) member(family, releases, name, version string, extras map[string]any) {
	repository := edition + "/" + family + "/" + name
	d := s.image(repository, "", nil)
	s.names[name+" "+version] = []digest.Digest{d.Digest}
	files := map[string]string{"images_digests.json": jsonOf(map[string]string{"agent": d.Digest.String()}), "version.json": "{}"}
	if extras != nil {
		files["extra_images.json"] = jsonOf(extras)
	}
	s.image(repository, version, files)
	s.channel(repository+"/"+releases, version, version, false)
}

func standard(t *testing.T) *synthetic {
	s := lean(t)
	s.members("packages", "version")
	s.program()
	return s
}

// lean returns a source that has neither versions of packages nor the d8 program, because every
// selection pulls both.
func lean(t *testing.T) *synthetic {
	s := newSynthetic(t)
	for _, v := range []string{"v1.67.5", "v1.68.0", "v1.68.1", "v1.68.2", "v1.69.0", "v1.69.3", "v1.70.0-rc.1", "v1.70.0", "v1.70.1", "v1.71.0", "v1.72.0"} {
		s.build(edition, v, 2)
	}
	s.image(edition, "pr42", nil)
	s.image(edition+"/install", "pr42", map[string]string{"deckhouse/candi/images_tags.json": jsonOf(map[string]any{"m": map[string]string{"old": "old-tag"}})})
	s.image(edition, "old-tag", nil)
	for channel, version := range map[string]string{"alpha": "v1.71.0", "beta": "v1.70.0", "early-access": "v1.69.3", "stable": "v1.69.3", "rock-solid": "v1.68.1"} {
		s.channel(edition+"/release-channel", channel, version, false)
	}
	for i, db := range []string{"trivy-db:2", "trivy-bdu:1", "trivy-checks:0"} { // the source has no fourth database
		name, tag, _ := strings.Cut(db, ":")
		s.image(edition+"/security/"+name, tag, map[string]string{"db": fmt.Sprint(i)})
	}
	s.image("deckhouse/installer", "latest", nil)
	s.image("deckhouse/installer", "v2", nil)
	s.members("modules", "release")
	s.plugin()
	return s
}

// program adds the d8 program: a stable version, an older version and a preview, each for two
// platforms.
func (s *synthetic) program() {
	const at = "deckhouse/deckhouse-cli"
	for _, v := range []string{"v0.9.0", "v0.13.1", "v0.14.0-rc.1"} {
		s.tag(at, s.multi(at, v, nil), v)
	}
	s.image(at, "latest", nil)
}

// multi adds an index with one image for each of two platforms.
func (s *synthetic) multi(at, name string, annotations map[string]string) specs.Descriptor {
	l := s.tree.Layout(at)
	var children []specs.Descriptor
	for _, arch := range []string{"arm64", "amd64"} {
		children = append(children, l.Image(layouttest.Image{Name: name + arch, Platform: &specs.Platform{OS: "linux", Architecture: arch}, LayerSizes: []int64{50}}))
	}
	return l.Index(layouttest.Index{Children: children, Annotations: annotations})
}

func (s *synthetic) members(family, releases string) {
	for _, name := range []string{"console", "stronghold"} {
		if family == "packages" {
			name += "-p"
		}
		for _, v := range []string{"v1.0.0", "v1.0.1", "v1.1.0", "v1.1.2", "v1.2.0", "v2.0.0"} {
			var extras map[string]any
			if strings.HasPrefix(name, "stronghold") {
				extras = map[string]any{"scanner": 3, "enforcer": "v2"}
			}
			s.member(family, releases, name, v, extras)
		}
		at := edition + "/" + family + "/" + name
		for channel, version := range map[string]string{"alpha": "v1.2.0", "beta": "v1.1.0", "stable": "v1.1.0", "early-access": "v1.1.0", "rock-solid": "v1.0.1"} {
			s.channel(at+"/"+releases, channel, version, false)
		}
		if strings.HasPrefix(name, "stronghold") {
			s.image(at+"/extra/scanner", "3", nil)
			s.image(at+"/extra/enforcer", "v2", nil)
		}
		s.image(edition+"/"+family, name, nil)
	}
}

func (s *synthetic) plugin() {
	const at = "deckhouse/deckhouse-cli/plugins/system"
	for _, v := range []string{"v0.1.0", "v0.2.0", "v0.3.0-alpha.1"} {
		s.tag(at, s.multi(at, v, nil), v)
	}
	s.image("deckhouse/deckhouse-cli/plugins", "system", nil)
}

func (s *synthetic) writeAll() {
	s.t.Helper()
	repositories := map[string]bool{}
	for key := range s.tags {
		repository, _, _ := strings.Cut(key, ":")
		repositories[repository] = true
	}
	for repository := range repositories {
		s.tree.Layout(repository).Write()
	}
}

// wanted returns the tags and digests that a bundle must serve, in the form of pulltest.Listed. A
// line is LAYOUT:TAG; the root layout has an empty path. If the source has the image under a
// different tag, the line is LAYOUT:TAG=OTHER. For all images that NAME lists by digest, the line
// is LAYOUT:@NAME.
func (s *synthetic) wanted(lines string) map[string]string {
	s.t.Helper()
	all := map[string]string{}
	for line := range strings.FieldsFuncSeq(lines, func(r rune) bool { return r == '\n' || r == ',' }) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		layout, tag, _ := strings.Cut(line, ":")
		name, source := edition, edition
		if layout != "" {
			name += "/" + layout
			source = name
			if layout == "installer" || strings.HasPrefix(layout+"/", "deckhouse-cli/") {
				source = "deckhouse/" + layout
			}
		}
		if names, ok := strings.CutPrefix(tag, "@"); ok {
			if len(s.names[names]) == 0 {
				s.t.Fatalf("the source has no images that %q lists by digest, want at least one", names)
			}
			for _, d := range s.names[names] {
				all[name+":"+d.Encoded()] = d.String()
				if att, ok := s.tags[source+":"+vex(d)]; ok {
					all[name+":"+vex(d)] = att.String()
				}
			}
			continue
		}
		tag, other, ok := strings.Cut(tag, "=")
		if !ok {
			other = tag
		}
		d, ok := s.tags[source+":"+other]
		if !ok {
			s.t.Fatalf("the source has no image %s:%s, want one", source, other)
		}
		all[name+":"+tag] = d.String()
	}
	return all
}

func options(t *testing.T, r *registrytest.Registry, path string) pull.Options {
	o := pulltest.Options(t, r, path)
	o.Planner = &deckhouse.Selection{}
	return o
}

func selecting(s deckhouse.Selection) pull.Planner { return &s }
