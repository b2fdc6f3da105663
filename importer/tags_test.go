package importer_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// If the short tag of an image is a digest, the image is imported unchanged, and gets no tag.
func TestImportsByDigest(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("modules/console")
	want := map[string]string{}
	for n, form := range []string{"sha256:", "@sha256:"} {
		d := l.Image(layouttest.Image{Name: fmt.Sprint("by digest ", n)})
		d.Annotations = map[string]string{layouttest.AnnotationShortTag: form + d.Digest.Encoded(), ocispec.AnnotationRefName: "registry.example/deckhouse/ee/modules/console@" + d.Digest.String()}
		l.Add(d)
		want[string(d.Digest)] = d.Annotations[layouttest.AnnotationShortTag]
	}
	l.Tag(l.Image(layouttest.Image{Name: "tagged"}), "v1")
	l.Write()
	store := filepath.Join(importertest.Scratch(t), "store")
	report := importertest.Imported(t, store, tree.Dir())
	if report.Tags != (importer.Tags{New: 1}) || len(report.Problems) != 0 {
		t.Errorf("report %+v", report)
	}
	got := map[string]string{}
	for _, d := range indexOf(t, store, "modules/console") {
		if short := d.Annotations[layouttest.AnnotationShortTag]; short != "v1" {
			got[string(d.Digest)] = short
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("short tags of the imported images (-want +got):\n%s", diff)
	}
	importertest.Same(t, "the store", importertest.MustContent(t, store), importertest.MustContent(t, tree.Dir()))
	if report := importertest.Imported(t, store, tree.Dir()); report.Changed {
		t.Errorf("again: %+v", report)
	}
}

// In this index, "annotations" is null, and the tag is in "Annotations". Package encoding/json
// ignores the case of field names, so a reader finds the tag.
func TestImportWithNullAnnotations(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("modules/console")
	d := l.Image(layouttest.Image{Name: "console"})
	d.Annotations = map[string]string{ocispec.AnnotationRefName: "registry.example/deckhouse/ee/modules/console:v1"}
	l.Add(d)
	l.Write()
	name := filepath.Join(tree.Dir(), "modules/console/index.json")
	index, err := os.ReadFile(name)
	importertest.Must(t, err)
	index = bytes.Replace(index, []byte(`"annotations":`), []byte(`"annotations":null,"Annotations":`), 1)
	importertest.Must(t, os.WriteFile(name, index, 0o644))
	store := filepath.Join(importertest.Scratch(t), "store")
	if report := importertest.Imported(t, store, tree.Dir()); report.Tags != (importer.Tags{New: 1}) {
		t.Errorf("report %+v", report)
	}
	importertest.Same(t, "the store", importertest.MustContent(t, store), importertest.MustContent(t, tree.Dir()))
}

func indexOf(t *testing.T, store, path string) []ocispec.Descriptor {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(store, path, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		t.Fatal(err)
	}
	return index.Manifests
}

// If the references of a bundle name several repositories, the bundle and the store that imported
// it have the same tags.
func TestImportsTwoImagesOfOneLayout(t *testing.T) {
	bundle := func(path string, references ...string) string {
		tree := layouttest.New(t, t.TempDir())
		l := tree.Layout(path)
		for _, ref := range references {
			d := l.Image(layouttest.Image{Name: ref})
			d.Annotations = map[string]string{ocispec.AnnotationRefName: ref}
			l.Add(d)
		}
		l.Write()
		return tree.Dir()
	}
	for name, c := range map[string]struct {
		bundles []string
		tags    int
	}{
		"a layout with images of two repositories":                 {[]string{bundle("app", "registry.example/app:1.0", "registry.example/db:1.0", "registry.example/db:2.0")}, 1},
		"a root layout with images of two repositories":            {[]string{bundle(".", "registry.example/app:1.0", "registry.example/db:2.0")}, 1},
		"root layouts with images of one repository each":          {[]string{bundle(".", "registry.example/app:1.0"), bundle(".", "registry.example/db:2.0")}, 2},
		"references without a host":                                {[]string{bundle(".", "app:1.0"), bundle(".", "db:2.0")}, 2},
		"layouts whose images name other repositories":             {[]string{bundle("web", "registry.example/app:1.0"), bundle("web", "registry.example/db:2.0")}, 2},
		"two layouts at the path of one repository":                {[]string{bundle("app", "registry.example/app:1.0"), bundle("app", "registry.example/db:2.0")}, 2},
		"a layout with two repositories, and one with one of them": {[]string{bundle("app", "registry.example/app:1.0", "registry.example/db:2.0"), bundle("app", "registry.example/db:3.0")}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: c.bundles, Indexes: []string{}})
			if err != nil {
				t.Fatal(err)
			}
			want, err := importertest.ContentOfSnapshot(t.Context(), tree.Snapshot())
			if err != nil || tree.Snapshot().TagCount() != c.tags {
				t.Fatalf("the bundles have %d tags, want %d; error %v", tree.Snapshot().TagCount(), c.tags, err)
			}
			store := filepath.Join(importertest.Scratch(t), "store")
			importertest.Imported(t, store, c.bundles...)
			importertest.Same(t, "the store", importertest.MustContent(t, store), want)
			if report := importertest.Imported(t, store, c.bundles...); report.Changed {
				t.Errorf("again: %+v", report)
			}
		})
	}
}

// If a bundle pins the version of a package, the catalog of packages in the same bundle never
// overrides the pinned version.
func TestPackageOverridesCatalog(t *testing.T) {
	const own, all = "package-echo.tar", "package-versions.tar"
	stable := func(t *testing.T, store string) {
		t.Helper()
		c := importertest.MustContent(t, store)
		if at := "packages/echo/version"; c[at+":stable"] != c[at+":v1"] || c[at+":v2"] == "" {
			t.Errorf("got the tags %v, want stable with the digest of v1, the version that the package pins", c)
		}
	}
	for form, sources := range map[string]func(dir string) []string{
		"a directory":                  func(dir string) []string { return []string{dir} },
		"in the order of a shell glob": func(dir string) []string { return []string{filepath.Join(dir, own), filepath.Join(dir, all)} },
		"in chunks": func(dir string) []string {
			chunks := layouttest.Cut(t, filepath.Join(dir, all), 3000)
			return []string{filepath.Join(dir, own), chunks[1]}
		},
	} {
		for how, run := range map[string]func(*testing.T, string, ...string) importer.Report{"loose": importertest.Imported, "packed": importertest.Kept} {
			t.Run(form+", "+how, func(t *testing.T) {
				dir, store := importertest.Scratch(t), filepath.Join(importertest.Scratch(t), "store")
				importertest.Catalog(t, dir, all, "v2")
				importertest.Catalog(t, dir, own, "v1")
				run(t, store, sources(dir)...)
				stable(t, store)
			})
		}
	}
}

// If the references in a store contain repository names as d8 wrote them until August 2026, the
// store is served under these names and under the current ones.
func TestOldStore(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	tree.OldNames = true
	for _, path := range []string{"install", "installer", "deckhouse-cli/plugins/system"} {
		l := tree.Layout(path)
		l.Tag(l.Image(layouttest.Image{Name: path}), "v1")
		l.Write()
	}
	store := filepath.Join(importertest.Scratch(t), "store")
	importertest.Imported(t, store, tree.Dir())
	for _, file := range []string{"installer/index.json", "deckhouse-cli/plugins/system/index.json"} {
		if importertest.Files(t, store)["/"+file] == 0 {
			t.Errorf("the store does not contain %s, want it there", file)
		}
	}
	open, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{store}})
	if err != nil {
		t.Fatal(err)
	}
	s := open.Snapshot()
	names, _ := s.Repositories("", -1)
	want := []string{"deckhouse/deckhouse-cli/plugins", "deckhouse/deckhouse-cli/plugins/system", "deckhouse/ee/install", "deckhouse/installer"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	for _, name := range want {
		old := name
		if !strings.HasPrefix(name, "deckhouse/ee/") {
			old = "deckhouse/ee" + strings.TrimPrefix(name, "deckhouse")
		}
		repo, err := s.Repository(old)
		if err != nil {
			t.Error(err)
			continue
		}
		if tags, _ := repo.Tags("", -1); !slices.Equal(tags, []string{"v1"}) && !slices.Equal(tags, []string{"system"}) {
			t.Errorf("the repository %s has the tags %q, want only v1 or only system", old, tags)
		}
	}
}
