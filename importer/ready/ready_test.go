package ready_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/pull/pulltest"
	"github.com/layoutproxy/layoutproxy/importer/ready"
	"github.com/layoutproxy/layoutproxy/importer/release"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// image is a declared image, and the layout that contains it.
type image struct {
	module, name, layout string
	specs.Descriptor
}

// bundle is a bundle of Deckhouse: some of its images declare which images they need.
type bundle struct {
	t        *testing.T
	tree     *layouttest.Tree
	declared []image
	count    int
}

// newBundle makes a bundle with two modules and some versions of the platform. Each version declares n
// images.
func newBundle(t *testing.T, n int, versions ...string) *bundle {
	b := &bundle{t: t, tree: layouttest.New(t, t.TempDir())}
	for _, version := range versions {
		b.build(version, n)
	}
	b.channel("release-channel", "stable", versions[0])
	for _, name := range []string{"console", "stronghold"} {
		b.module(name)
	}
	for _, path := range []string{".", "install", "install-standalone", "release-channel", "modules/console", "modules/console/release", "modules/stronghold", "modules/stronghold/release",
		"modules/stronghold/extra/scanner", "modules/stronghold/extra/enforcer"} {
		b.tree.Layout(path).Write()
	}
	return b
}

// image adds an image with files. If files is nil, the image has a random layer instead. If tag is
// empty, the image's digest becomes its tag.
func (b *bundle) image(layout, tag string, files map[string]string) specs.Descriptor {
	b.count++
	i := layouttest.Image{Name: fmt.Sprint(layout, b.count), Docker: b.count%2 == 0, Files: files}
	if files == nil {
		i.LayerSizes = []int64{int64(100 + b.count)}
	}
	d := b.tree.Layout(layout).Image(i)
	if tag == "" {
		tag = d.Digest.Encoded()
	}
	b.tree.Layout(layout).Tag(d, tag)
	return d
}

func (b *bundle) declare(layout, tag, module, name string) specs.Descriptor {
	d := b.image(layout, tag, nil)
	b.declared = append(b.declared, image{module, name, layout, d})
	return d
}

func jsonOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func (b *bundle) channel(layout, tag, version string) {
	b.image(layout, tag, map[string]string{"version.json": jsonOf(map[string]any{"version": version, "requirements": map[string]string{"k8s": "1.27"}})})
}

func (b *bundle) build(version string, n int) {
	list := map[string]map[string]string{}
	for i := range n {
		module, name := fmt.Sprint("module", version, i%7), fmt.Sprint("image", i)
		if list[module] == nil {
			list[module] = map[string]string{}
		}
		list[module][name] = b.declare(".", "", module, name).Digest.String()
	}
	b.image(".", version, map[string]string{"deckhouse/version": version, release.PlatformDigests: jsonOf(list)})
	b.image("install", version, map[string]string{release.InstallerDigests: jsonOf(list)})
	b.image("install-standalone", version, nil)
	b.channel("release-channel", version, version)
}

func (b *bundle) module(name string) {
	at := "modules/" + name
	for _, version := range []string{"v1.0.0", "v1.1.0"} {
		files := map[string]string{release.ModuleDigests: jsonOf(map[string]string{"agent" + version: b.declare(at, "", name, "agent"+version).Digest.String()})}
		if name == "stronghold" {
			files[release.ModuleExtras] = jsonOf(map[string]any{"scanner": 3, "enforcer": version})
			b.declare(at+"/extra/enforcer", version, name, "enforcer")
		}
		b.image(at, version, files)
		b.channel(at+"/release", version, version)
	}
	if name == "stronghold" {
		b.declare(at+"/extra/scanner", "3", name, "scanner")
	}
	b.channel(at+"/release", "stable", "v1.1.0")
}

func judge(t *testing.T, scope ready.Scope, sources ...string) ready.Verdict {
	t.Helper()
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: sources})
	layouttest.Try(t, err)
	f, err := ready.Snapshot(t.Context(), tree.Snapshot(), scope)
	layouttest.Try(t, err)
	return ready.Judge(f, scope.Question)
}

// named returns the reasons of a verdict without duplicates. For a missing image it returns MODULE/IMAGE, for
// any other reason its text.
func named(v ready.Verdict) (all []string) {
	for _, x := range v.Versions {
		for _, r := range x.Reasons {
			if r.Kind == ready.MissingImage {
				all = append(all, r.Module+"/"+r.Image)
			} else {
				all = append(all, r.String())
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// If any one of more than a hundred declared images is missing, the verdict names only that image, by module
// and name. There are three ways to remove an image: its descriptor, its manifest or its layer is missing.
// LAYOUTPROXY_TEST_ALL=1 removes each image in all ways; otherwise, every third image is removed in one way.
func TestVerdictNamesMissingDeclaredImage(t *testing.T) {
	b := newBundle(t, 55, "v1.69.3", "v1.70.1")
	if len(b.declared) < 100 {
		t.Fatalf("the bundle has %d declared images, want more than 100", len(b.declared))
	}
	v := judge(t, ready.Scope{}, b.tree.Dir())
	if !v.Ready || len(v.Versions) != 2 || v.ExpectedDigests != len(b.declared) || named(v) != nil {
		t.Fatalf("verdict on the complete bundle = %+v, want it ready, with 2 versions, all declared digests and no reasons", v)
	}
	all := os.Getenv("LAYOUTPROXY_TEST_ALL") != ""
	for i, lost := range b.declared {
		for way, remove := range []func(image) (undo func()){b.dropDescriptor, b.dropManifest, b.dropLayer} {
			if !all && i%9 != 4*way {
				continue
			}
			undo := remove(lost)
			v := judge(t, ready.Scope{}, b.tree.Dir())
			undo()
			if diff := cmp.Diff([]string{lost.module + "/" + lost.name}, named(v)); v.Ready || diff != "" {
				t.Errorf("%s/%s was removed in way %d: got Ready = %v, want false and these reasons (-want +got):\n%s", lost.module, lost.name, way, v.Ready, diff)
			}
		}
	}
}

func (b *bundle) dropDescriptor(i image) (undo func()) {
	name := filepath.Join(b.tree.Layout(i.layout).Dir(), "index.json")
	before, err := os.ReadFile(name)
	layouttest.Try(b.t, err)
	var index specs.Index
	layouttest.Try(b.t, json.Unmarshal(before, &index))
	index.Manifests = slices.DeleteFunc(index.Manifests, func(d specs.Descriptor) bool { return d.Digest == i.Digest })
	layouttest.Try(b.t, os.WriteFile(name, []byte(jsonOf(index)), 0o644))
	return func() { layouttest.Try(b.t, os.WriteFile(name, before, 0o644)) }
}

func (b *bundle) dropBlob(layout string, d digest.Digest) (undo func()) {
	name := b.tree.Layout(layout).BlobPath(d)
	layouttest.Try(b.t, os.Rename(name, name+".away"))
	return func() { layouttest.Try(b.t, os.Rename(name+".away", name)) }
}

func (b *bundle) dropManifest(i image) (undo func()) { return b.dropBlob(i.layout, i.Digest) }

func (b *bundle) dropLayer(i image) (undo func()) { return b.dropBlob(i.layout, b.layer(i)) }

// If a repository is removed, the verdict names the images that a version needs from this repository.
func TestVerdictNamesImagesOfMissingRepository(t *testing.T) {
	for layout, want := range map[string][]string{
		"install":                          {"missing installer: install:v1.69.3"},
		"install-standalone":               nil,
		"release-channel":                  {"missing release-channel entry: release-channel:v1.69.3"},
		"modules/console/release":          {"module console has no release channel"},
		"modules/stronghold/extra/scanner": {"stronghold/scanner"},
	} {
		b := newBundle(t, 2, "v1.69.3")
		layouttest.Try(t, os.Remove(filepath.Join(b.tree.Layout(layout).Dir(), "index.json")))
		layouttest.Try(t, os.RemoveAll(filepath.Join(b.tree.Layout(layout).Dir(), "blobs")))
		v := judge(t, ready.Scope{}, b.tree.Dir())
		if diff := cmp.Diff(want, named(v)); diff != "" || v.Ready != (want == nil) {
			t.Errorf("repository %s was removed: got Ready = %v, want true only without reasons; reasons (-want +got):\n%s", layout, v.Ready, diff)
		}
	}
}

// If a chunk is missing, the verdict names the chunk. No version is ready, because the chunk may
// contain any of their images.
func TestVerdictNamesMissingChunk(t *testing.T) {
	b := newBundle(t, 10, "v1.69.3")
	dir := t.TempDir()
	b.tree.Bundle(dir)
	if v := judge(t, ready.Scope{}, dir); !v.Ready {
		t.Fatal(named(v))
	}
	chunks := layouttest.Split(t, filepath.Join(dir, "platform.tar"), 6000)
	for i, chunk := range chunks {
		layouttest.Try(t, os.Rename(chunk, chunk+".tmp"))
		v := judge(t, ready.Scope{Question: ready.Question{Releases: []string{"v1.69.3"}}}, dir)
		layouttest.Try(t, os.Rename(chunk+".tmp", chunk))
		size, err := os.Stat(chunk)
		layouttest.Try(t, err)
		if size.Size() == 0 || i == len(chunks)-1 && v.Ready { // the last chunk may have only padding
			continue
		}
		if text := strings.Join(named(v), "\n"); v.Ready || !strings.Contains(text, fmt.Sprintf("chunk %04d", i)) {
			t.Errorf("chunk %d is missing: got Ready = %v and the reasons %s, want false and a reason that names the chunk", i, v.Ready, text)
		}
	}
}

// A flipped bit in a layer is found only by a deep check, which reads the layers.
func TestDeepCheckFindsFlippedBit(t *testing.T) {
	b := newBundle(t, 3, "v1.69.3")
	lost := b.declared[1]
	body, err := os.ReadFile(b.tree.Layout(".").BlobPath(lost.Digest))
	layouttest.Try(t, err)
	var m specs.Manifest
	layouttest.Try(t, json.Unmarshal(body, &m))
	pulltest.Flip(t, b.tree.Layout(".").BlobPath(m.Layers[0].Digest), 7)
	if v := judge(t, ready.Scope{}, b.tree.Dir()); !v.Ready {
		t.Error(named(v))
	}
	if diff := cmp.Diff([]string{lost.module + "/" + lost.name}, named(judge(t, ready.Scope{Deep: true}, b.tree.Dir()))); diff != "" {
		t.Error(diff)
	}
}

// If an image with declarations is damaged, the verdict says that its declarations cannot be read.
func TestDamagedDeclarations(t *testing.T) {
	for layout, want := range map[string]string{".": "the declarations of v1.69.3", "install": "the declarations of install:v1.69.3", "release-channel": "the declarations of release-channel:v1.69.3",
		"modules/console": "the declarations of modules/console:v1.0.0"} {
		b := newBundle(t, 2, "v1.69.3")
		tag := "v1.69.3"
		if layout == "modules/console" {
			tag = "v1.0.0"
		}
		pulltest.Flip(t, b.tree.Layout(layout).BlobPath(b.firstLayer(layout, tag)), 20)
		v := judge(t, ready.Scope{}, b.tree.Dir())
		if text := strings.Join(named(v), "\n"); v.Ready || !strings.Contains(text, want+" cannot be read: layer sha256:") || !strings.Contains(text, "checksum mismatch") {
			t.Errorf("%s is damaged: got Ready = %v and the reasons %s, want false and a checksum mismatch in %s", layout, v.Ready, text, want)
		}
	}
}

func (b *bundle) firstLayer(layout, tag string) digest.Digest {
	tree, err := layoutstore.Open(b.t.Context(), layoutstore.Options{Sources: []string{b.tree.Dir()}})
	layouttest.Try(b.t, err)
	repo, err := tree.Snapshot().At(layout)
	layouttest.Try(b.t, err)
	d, err := repo.TagDigest(tag)
	layouttest.Try(b.t, err)
	body, err := repo.ManifestBytes(b.t.Context(), d)
	layouttest.Try(b.t, err)
	var m specs.Manifest
	layouttest.Try(b.t, json.Unmarshal(body, &m))
	return m.Layers[0].Digest
}

// A bundle without declarations does not count as a bundle of Deckhouse, even if it has
// repositories with the same names as Deckhouse's.
func TestBundleWithoutDeclarations(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	for _, layout := range []string{".", "modules/x", "library/nginx"} {
		l := tree.Layout(layout)
		l.Tag(l.Image(layouttest.Image{Name: layout, LayerSizes: []int64{10}}), "v1.2.3")
		l.Write()
	}
	if v := judge(t, ready.Scope{}, tree.Dir()); !v.Ready || v.Deckhouse || len(v.Versions)+len(v.Modules) > 0 {
		t.Errorf("verdict = %+v, want it ready, not Deckhouse, and without versions and modules", v)
	}
	q := ready.Question{Releases: []string{"v1.70.1"}}
	if v := judge(t, ready.Scope{Question: q}, tree.Dir()); v.Ready || len(v.Versions) != 1 {
		t.Errorf("verdict on v1.70.1 = %+v, want it not ready, with 1 version", v)
	}
}

// If the scope names modules, only these modules are judged.
func TestScopeNamesModules(t *testing.T) {
	b := newBundle(t, 2, "v1.69.3")
	b.dropDescriptor(b.declared[len(b.declared)-1]) // of stronghold
	for file, want := range map[string][]string{
		"console":            nil,
		"console@^1":         nil,
		"console@^2":         {"module console has no version ^2"},
		"other":              {"clusters cannot find module other: repository \"modules\" has no tag other", "module other is missing"},
		"stronghold":         {"stronghold/scanner"},
		"console\nconsole@3": {"module console has no version 3"},
	} {
		modules, err := ready.ParseModules([]byte(file))
		layouttest.Try(t, err)
		v := judge(t, ready.Scope{Modules: modules}, b.tree.Dir())
		got := slices.DeleteFunc(named(v), func(s string) bool { return strings.HasPrefix(s, "clusters") && len(want) == 1 })
		if file == "other" {
			want = want[1:]
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("modules %q: reasons (-want +got): %s", file, diff)
		}
	}
}

// For an upgrade, only two kinds of versions are judged: the requested version, and the highest patch of each
// minor version on the way.
func TestVersionsJudgedForUpgrade(t *testing.T) {
	b := newBundle(t, 2, "v1.67.0", "v1.68.0", "v1.68.1", "v1.69.0", "v1.70.0")
	q := ready.Question{Releases: []string{"v1.69.0"}, From: "v1.67.0"}
	v := judge(t, ready.Scope{Question: q}, b.tree.Dir())
	var versions []string
	for _, x := range v.Versions {
		versions = append(versions, fmt.Sprint(x.Version, " ", x.Asked, " ", x.Ready))
	}
	if diff := cmp.Diff([]string{"v1.68.1 false true", "v1.69.0 true true"}, versions); diff != "" || !v.Ready {
		t.Error(diff)
	}
	i := slices.IndexFunc(b.declared, func(i image) bool { return strings.HasPrefix(i.module, "modulev1.68.1") })
	b.dropManifest(b.declared[i])
	v = judge(t, ready.Scope{Question: q}, b.tree.Dir())
	want := []string{b.declared[i].module + "/" + b.declared[i].name, "v1.67 → v1.69 needs v1.68.1, which is not ready"}
	if diff := cmp.Diff(want, named(v)); diff != "" || v.Ready {
		t.Error(diff)
	}
}

// Registry sends one HEAD request per declared image. This test uses the reference implementation of a
// registry.
func TestRegistryRequests(t *testing.T) {
	b := newBundle(t, 20, "v1.69.3")
	r := registrytest.New(t, registrytest.Options{})
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{b.tree.Dir()}, Roots: []string{"deckhouse/ee"}})
	layouttest.Try(t, err)
	lost := b.declared[3]
	pulltest.Push(t, r, tree.Snapshot())
	c, err := client.New(client.Options{Registry: r.Host, PlainHTTP: true, Clock: &pulltest.NoPauses{}})
	layouttest.Try(t, err)
	t.Cleanup(c.Close)
	ask := func(scope ready.Scope) ready.Verdict {
		t.Helper()
		f, err := ready.Registry(t.Context(), c, client.Reference{Registry: r.Host, Path: "deckhouse/ee"}, 4, scope)
		layouttest.Try(t, err)
		return ready.Judge(f, scope.Question)
	}
	r.Forget()
	if v := ask(ready.Scope{}); !v.Ready || v.ExpectedDigests != 20+4 { // only module versions to which channels point are judged
		t.Errorf("verdict = %v with the reasons %v, want it ready, with 24 declared digests", v, named(v))
	}
	heads := map[string]int{}
	for _, request := range r.Requests() {
		if request.Method == "HEAD" && strings.Contains(request.Path, "/manifests/sha256:") {
			heads[request.Path]++
		}
		if request.Method == "GET" && strings.Contains(request.Path, "/manifests/"+lost.Digest.String()) {
			t.Errorf("got a GET request for the manifest %s of a declared image, want only HEAD requests", request.Path)
		}
	}
	if len(heads) != 22 {
		t.Errorf("got HEAD requests for %d digests, want 22", len(heads))
	}
	for path, n := range heads {
		if n != 1 {
			t.Errorf("got %d HEAD requests for %s, want 1", n, path)
		}
	}
	r.Inject(pulltest.Absent("deckhouse/ee/manifests/" + lost.Digest.String()))
	if diff := cmp.Diff([]string{lost.module + "/" + lost.name}, named(ask(ready.Scope{}))); diff != "" {
		t.Error(diff)
	}
	r.Heal()
	r.Inject(pulltest.Absent("deckhouse/ee/blobs/" + b.layer(lost).String()))
	if v := ask(ready.Scope{}); !v.Ready {
		t.Error(named(v))
	}
	if diff := cmp.Diff([]string{lost.module + "/" + lost.name}, named(ask(ready.Scope{Deep: true}))); diff != "" {
		t.Error(diff)
	}
}

func (b *bundle) layer(i image) digest.Digest {
	body, err := os.ReadFile(b.tree.Layout(i.layout).BlobPath(i.Digest))
	layouttest.Try(b.t, err)
	var m specs.Manifest
	layouttest.Try(b.t, json.Unmarshal(body, &m))
	return m.Layers[0].Digest
}
