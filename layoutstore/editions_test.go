package layoutstore_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// buildEdition builds a tree with some repositories below an edition, and others beside it.
func buildEdition(t *testing.T, dir, source string, oldNames bool) *layouttest.Tree {
	t.Helper()
	tree := layouttest.New(t, dir)
	tree.Source, tree.OldNames = source, oldNames
	for path, tags := range map[string][]string{
		".": {"v1"}, "install": {"v1"}, "modules/console": {"v1"}, "packages/echo": {"v1"},
		"installer": {"latest"}, "deckhouse-cli": {"v2"}, "deckhouse-cli/plugins/system": {"v3"}, "deckhouse-cli/plugins/package": {"v3"},
	} {
		l := tree.Layout(path)
		for _, tag := range tags {
			l.Tag(l.Image(layouttest.Image{Name: path + tag}), tag)
		}
		l.Write()
	}
	return tree
}

// besideNames returns the tags of the repositories that buildEdition puts beside the edition.
func besideNames(root string) []string {
	return []string{
		root + "/deckhouse-cli:v2", root + "/deckhouse-cli/plugins:package", root + "/deckhouse-cli/plugins:system",
		root + "/deckhouse-cli/plugins/package:v3", root + "/deckhouse-cli/plugins/system:v3", root + "/installer:latest",
	}
}

func belowNames(root string) []string {
	return []string{root + ":v1", root + "/install:v1", root + "/modules:console", root + "/modules/console:v1", root + "/packages:echo", root + "/packages/echo:v1"}
}

func sorted(lists ...[]string) []string {
	all := slices.Concat(lists...)
	slices.Sort(all)
	return all
}

// answered returns those of the given REPOSITORY:TAG names that are served. They may be aliases.
func answered(t *testing.T, tree *layoutstore.Tree, names []string) (all []string) {
	t.Helper()
	for _, name := range names {
		name, tag, _ := strings.Cut(name, ":")
		r, err := tree.Snapshot().Repository(name)
		if err != nil {
			continue
		}
		if tags, _ := r.Tags("", -1); slices.Contains(tags, tag) {
			all = append(all, name+":"+tag)
		}
	}
	return all
}

func TestEditionSplit(t *testing.T) {
	const ee, old = "registry.example/deckhouse/ee", true
	for name, c := range map[string]struct {
		source   string
		oldNames bool
		options  layoutstore.Options
		want     []string
		aliases  []string
	}{
		"the elected root":               {ee, !old, layoutstore.Options{}, sorted(belowNames("deckhouse/ee"), besideNames("deckhouse")), besideNames("deckhouse/ee")},
		"a bundle of an older tool":      {ee, old, layoutstore.Options{}, sorted(belowNames("deckhouse/ee"), besideNames("deckhouse")), besideNames("deckhouse/ee")},
		"no split":                       {ee, !old, layoutstore.Options{NoEditionSplit: true}, sorted(belowNames("deckhouse/ee"), besideNames("deckhouse/ee")), nil},
		"an edition in an explicit root": {ee, !old, layoutstore.Options{Roots: []string{"a/b/se-plus"}}, sorted(belowNames("a/b/se-plus"), besideNames("a/b")), besideNames("a/b/se-plus")},
		"no edition":                     {ee, !old, layoutstore.Options{Roots: []string{"system/deckhouse"}}, sorted(belowNames("system/deckhouse"), besideNames("system/deckhouse")), nil},
		"the root is only the edition":   {ee, !old, layoutstore.Options{Roots: []string{"ee"}}, sorted(belowNames("ee"), besideNames("ee")), nil},
		"two editions": {ee, !old, layoutstore.Options{Roots: []string{"deckhouse/ee", "deckhouse/fe"}},
			sorted(belowNames("deckhouse/ee"), belowNames("deckhouse/fe"), besideNames("deckhouse")), append(besideNames("deckhouse/ee"), besideNames("deckhouse/fe")...)},
		"the elected root and an explicit root": {ee, !old, layoutstore.Options{Roots: []string{layoutstore.AutoRoot, "mirror"}},
			sorted(belowNames("deckhouse/ee"), besideNames("deckhouse"), belowNames("mirror"), besideNames("mirror")), besideNames("deckhouse/ee")},
		"an edition and its parent": {ee, !old, layoutstore.Options{Roots: []string{"deckhouse/ee", "deckhouse"}},
			sorted(belowNames("deckhouse/ee"), belowNames("deckhouse"), besideNames("deckhouse")), besideNames("deckhouse/ee")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			buildEdition(t, dir, c.source, c.oldNames)
			c.options.Sources = []string{dir}
			tree := openWith(t, c.options)
			if diff := cmp.Diff(c.want, sorted(served(t, tree))); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.aliases, answered(t, tree, c.aliases)); diff != "" {
				t.Errorf("aliases (-want +got): %s", diff)
			}
			if s := tree.Snapshot(); s.TagCount() != len(c.want) {
				t.Errorf("TagCount() = %d, want %d", s.TagCount(), len(c.want))
			}
			if found := allProblems(t, tree); len(found) != 0 {
				t.Errorf("got the problems %v, want none", found)
			}
		})
	}
}

// Without the edition split, or without an edition in the root, no repository has an alias.
func TestNoAliasesWithoutEditionSplit(t *testing.T) {
	dir := t.TempDir()
	buildEdition(t, dir, "registry.example/deckhouse/ee", false)
	for _, o := range []layoutstore.Options{{NoEditionSplit: true}, {Roots: []string{"deckhouse/ee/x"}}, {Roots: []string{""}}} {
		o.Sources = []string{dir}
		tree := openWith(t, o)
		for _, name := range []string{"deckhouse/installer", "deckhouse/deckhouse-cli/plugins"} {
			if _, err := tree.Snapshot().Repository(name); err == nil {
				t.Errorf("%+v: Repository(%s): got no error, want one", o, name)
			}
		}
	}
}

// Sources may have different roots. So the name of a repository in one source may be an alias in a
// different source.
func TestEditionSplitOfSeveralSources(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	put(t, one, "installer", "one", "latest")
	put(t, one, "install", "one", "v1")
	put(t, two, "ee/installer", "two", "other")
	put(t, two, "installer", "two", "v9")
	tree := openWith(t, layoutstore.Options{
		Sources: []string{one, two},
		Roots:   []string{"deckhouse/ee"}, SourceRoots: map[string][]string{two: {"deckhouse"}},
	})
	want := []string{
		"deckhouse/ee/install:v1",
		"deckhouse/ee/installer:other",                         // not an alias, because a layout has this name
		"deckhouse/installer:latest", "deckhouse/installer:v9", // the repository has tags of both sources
	}
	if diff := cmp.Diff(want, served(t, tree)); diff != "" {
		t.Error(diff)
	}
	if tags, _ := repository(t, tree, "deckhouse/ee/installer").Tags("", -1); !slices.Equal(tags, []string{"other"}) {
		t.Errorf("tags of the repository whose name could be an alias: got %q, want other", tags)
	}
	// When the layout with this name is removed, the name becomes an alias.
	layouttest.Try(t, os.RemoveAll(filepath.Join(two, "ee")))
	refresh(t, tree)
	if tags, _ := repository(t, tree, "deckhouse/ee/installer").Tags("", -1); !slices.Equal(tags, []string{"latest", "v9"}) {
		t.Errorf("tags under the alias: got %q, want latest and v9", tags)
	}
	if slices.ContainsFunc(served(t, tree), func(s string) bool { return strings.HasPrefix(s, "deckhouse/ee/installer") }) {
		t.Error("list of repositories: got an alias, want none")
	}
}

// The name of a module does not depend on which archives of a bundle are present.
func TestElectedRootIsStable(t *testing.T) {
	for _, oldNames := range []bool{false, true} {
		t.Run(fmt.Sprintf("old names %v", oldNames), func(t *testing.T) {
			t.Parallel()
			bundle := t.TempDir()
			source := buildEdition(t, t.TempDir(), "registry.example:5000/deckhouse/ee", oldNames)
			for n := range 5 { // make more plugins than other layouts
				l := source.Layout(fmt.Sprintf("deckhouse-cli/plugins/p%d", n))
				for m := range 9 {
					l.Tag(l.Image(layouttest.Image{Name: fmt.Sprint(n, m)}), fmt.Sprint("v", m))
				}
				l.Write()
			}
			source.Bundle(bundle)
			archives, err := filepath.Glob(bundle + "/*.tar")
			layouttest.Try(t, err)
			all := openWith(t, layoutstore.Options{Sources: []string{bundle}})
			names, _ := all.Snapshot().Repositories("", -1)
			for seed := range 60 {
				checkSubset(t, archives, names, uint64(seed))
			}
		})
	}
}

// checkSubset serves random archives of a bundle. It checks that each repository has the same name
// as if all archives were served.
func checkSubset(t *testing.T, archives, names []string, seed uint64) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 16))
	var some []string
	for _, archive := range archives {
		if random.IntN(3) == 0 {
			some = append(some, archive)
		}
	}
	if len(some) == 0 {
		return
	}
	random.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	tree := openWith(t, layoutstore.Options{Sources: some})
	got, _ := tree.Snapshot().Repositories("", -1)
	for _, name := range got {
		if !slices.Contains(names, name) {
			t.Errorf("seed %d, archives %q: got the repository %s, want only names that occur with all archives", seed, some, name)
		}
	}
	if len(got) == 0 {
		t.Errorf("seed %d, archives %q: got no repository, want at least one", seed, some)
	}
}

// If the short tag of a manifest is a digest, the manifest is untagged. This is no problem.
func TestDigestAsShortTagMeansUntagged(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("modules/console")
	for n, form := range []string{"sha256:", "@sha256:"} {
		d := l.Image(layouttest.Image{Name: fmt.Sprint("by digest ", n)})
		d.Annotations = map[string]string{
			layouttest.AnnotationShortTag: form + d.Digest.Encoded(), ocispec.AnnotationRefName: "registry.example/deckhouse/ee/modules/console@" + d.Digest.String(),
		}
		l.Add(d)
	}
	l.Add(l.Image(layouttest.Image{Name: "plain"}))
	image := l.Image(layouttest.Image{Name: "tagged"})
	l.Add(image)
	l.Tag(image, "v1")
	l.Add(l.Blob("application/octet-stream", []byte("a blob that the index names for itself")))
	l.Write()
	served := openWith(t, layoutstore.Options{Sources: []string{tree.Dir()}})
	if found := allProblems(t, served); len(found) != 0 {
		t.Errorf("got the problems %v, want none", found)
	}
	repo := repository(t, served, "deckhouse/ee/modules/console")
	untagged, err := repo.Untagged(t.Context())
	if err != nil || len(untagged) != 3 || slices.ContainsFunc(untagged, func(d layoutstore.Descriptor) bool { return d.Digest == image.Digest || d.Size == 0 }) {
		t.Errorf("got untagged manifests %+v and error %v, want three", untagged, err)
	}
	for _, d := range untagged {
		layouttest.Try(t, readFrom(t, repo, d.Digest))
	}
	if tags, _ := repo.Tags("", -1); !slices.Equal(tags, []string{"v1"}) {
		t.Errorf("got the tags %q, want v1", tags)
	}
}

// named writes an image. Its descriptor has a reference, but no short tag, as from skopeo or crane.
func named(l *layouttest.Layout, ref string) ocispec.Descriptor {
	d := l.Image(layouttest.Image{Name: ref})
	d.Annotations = map[string]string{ocispec.AnnotationRefName: ref}
	return d
}

// If a layout contains images of several repositories, no image gets the tag of another repository.
func TestImagesOfSeveralRepositoriesInOneLayout(t *testing.T) {
	for name, c := range map[string]struct {
		path       string
		references []string
		roots      []string
		want       []string // served names and tags, each with the reference of the image
		conflicts  int
	}{
		"one repository matches the path": {"app", []string{"registry.example/app:1.0", "registry.example/db:1.0", "registry.example/db:2.0"}, []string{""},
			[]string{"app:1.0 registry.example/app:1.0"}, 2},
		"one matches, in a different order": {"app", []string{"registry.example/db:1.0", "registry.example/app:1.0"}, []string{""},
			[]string{"app:1.0 registry.example/app:1.0"}, 1},
		"one matches below a root": {"team/app", []string{"registry.example/x/team/app:1", "registry.example/x/team/db:2"}, nil,
			[]string{"x/team/app:1 registry.example/x/team/app:1"}, 1},
		"none matches": {"web", []string{"registry.example/app:1.0", "registry.example/db:2.0"}, []string{""}, nil, 2},
		"only one repository, no match": {"web", []string{"registry.example/app:1.0", "other.example/app:2.0"}, []string{""},
			[]string{"web:1.0 registry.example/app:1.0", "web:2.0 other.example/app:2.0"}, 0},
		"references and bare tags": {"app", []string{"3.0", "registry.example/app:1.0", "registry.example/db:1.0"}, []string{""},
			[]string{"app:1.0 registry.example/app:1.0", "app:3.0 3.0"}, 1},
		"path is the end of a segment": {"app", []string{"registry.example/webapp:1.0", "registry.example/app:2.0"}, []string{""},
			[]string{"app:2.0 registry.example/app:2.0"}, 1},
		"root layout, elected root": {".", []string{"registry.example/app:1.0", "registry.example/db:1.0", "registry.example/app:2.0"}, nil,
			[]string{"app:1.0 registry.example/app:1.0", "app:2.0 registry.example/app:2.0"}, 1},
		"root layout, another root": {".", []string{"registry.example/app:1.0", "registry.example/db:1.0", "registry.example/app:2.0"}, []string{"mirror/x"},
			[]string{"mirror/x:1.0 registry.example/app:1.0", "mirror/x:2.0 registry.example/app:2.0"}, 1},
		"root layout, explicit root": {".", []string{"registry.example/app:1.0", "registry.example/db:1.0", "registry.example/app:2.0"}, []string{"db"},
			[]string{"db:1.0 registry.example/db:1.0"}, 2},
		"root layout, two roots": {".", []string{"registry.example/app:1.0", "registry.example/db:1.0"}, []string{"app", "db"}, nil, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := layouttest.New(t, t.TempDir())
			l := tree.Layout(c.path)
			for _, ref := range c.references {
				l.Add(named(l, ref))
			}
			l.Write()
			open := openWith(t, layoutstore.Options{Sources: []string{tree.Dir()}, Roots: c.roots})
			images := map[string]string{}
			for _, ref := range c.references {
				images[string(named(l, ref).Digest)] = ref
			}
			var got []string
			for _, name := range served(t, open) {
				repo, tag, _ := strings.Cut(name, ":")
				d, err := repository(t, open, repo).Tag(t.Context(), tag)
				layouttest.Try(t, err)
				got = append(got, name+" "+images[string(d.Digest)])
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			found := allProblems(t, open)
			if len(found) != c.conflicts || slices.ContainsFunc(found, func(p layoutstore.Problem) bool {
				return p.Kind != layoutstore.Conflict || p.Tag() == "" || p.Digest == ""
			}) {
				t.Errorf("got problems %v, want %d conflicts", found, c.conflicts)
			}
			names, _ := open.Snapshot().Repositories("", -1)
			for d := range images { // each image must be served by digest
				layouttest.Try(t, readFrom(t, repository(t, open, names[0]), named(l, images[d]).Digest))
			}
		})
	}
}

// A short tag is a tag of the layout's repository, even if the reference names another repository.
func TestShortTagsNeverConflict(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("install")
	l.Tag(l.Image(layouttest.Image{Name: "v1"}), "v1")
	for tag, ref := range map[string]string{"alpha": "localhost:alpha", "beta": "registry.example/elsewhere:beta", "stable": "registry.example/db:1.0"} {
		d := named(l, ref)
		d.Annotations[layouttest.AnnotationShortTag] = tag
		l.Add(d)
	}
	l.Write()
	open := openWith(t, layoutstore.Options{Sources: []string{tree.Dir()}})
	if diff := cmp.Diff([]string{"deckhouse/ee/install:alpha", "deckhouse/ee/install:beta", "deckhouse/ee/install:stable", "deckhouse/ee/install:v1"}, served(t, open)); diff != "" {
		t.Error(diff)
	}
	if found := allProblems(t, open); len(found) != 0 {
		t.Errorf("got the problems %v, want none", found)
	}
}

// A root layout may contain images of several repositories. The root decides whose tags are served.
func TestRootDecidesWhoseTagsAreServed(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout(".")
	l.Add(named(l, "registry.example/app:1.0"))
	l.Add(named(l, "registry.example/db:2.0"))
	l.Write()
	open := openWith(t, layoutstore.Options{Sources: []string{tree.Dir()}, Roots: []string{"app"}})
	if diff := cmp.Diff([]string{"app:1.0"}, served(t, open)); diff != "" {
		t.Error(diff)
	}
	_, err := open.Reconfigure(t.Context(), layoutstore.Options{Sources: []string{tree.Dir()}, Roots: []string{"db"}})
	layouttest.Try(t, err)
	if diff := cmp.Diff([]string{"db:2.0"}, served(t, open)); diff != "" {
		t.Error(diff)
	}
}

// IsUnnamedRoot is true only for the missing name of the root layout, and not for other illegal names.
func TestOnlyMissingRootNameIsUnnamedRoot(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	for _, at := range []string{".", "Illegal"} {
		l := tree.Layout(at)
		l.Tag(l.Image(layouttest.Image{Name: at}), "v1")
		if at == "." {
			l.Tag(l.Image(layouttest.Image{Name: "other"}), "no tag")
		}
		l.Write()
	}
	open := openWith(t, layoutstore.Options{Sources: []string{tree.Dir()}, Roots: []string{""}})
	var unnamed, others []string
	for _, p := range allProblems(t, open) {
		if p.IsUnnamedRoot() {
			unnamed = append(unnamed, p.Reason)
		} else {
			others = append(others, p.Reason)
		}
	}
	want := []string{"the root layout has no name without a root: give it one with --root-repository NAME"}
	if diff := cmp.Diff(want, unnamed); diff != "" {
		t.Error(diff)
	}
	slices.Sort(others)
	if diff := cmp.Diff([]string{"not a legal tag; served by digest only", "the path is not a legal repository name"}, others); diff != "" {
		t.Error(diff)
	}
}

// A tag in a package's own archive overrides the same tag in the catalog, in any order of both.
func TestPackageArchiveOverridesCatalog(t *testing.T) {
	dir := t.TempDir()
	archive := func(name, version string) string {
		tree := layouttest.New(t, t.TempDir())
		l := tree.Layout("packages/echo/version")
		l.Tag(l.Image(layouttest.Image{Name: version}), "stable")
		l.Tag(l.Image(layouttest.Image{Name: version}), version)
		l.Write()
		file := filepath.Join(dir, name)
		tree.Archive(file, layouttest.Archive{})
		return file
	}
	catalog := archive("package-versions.tar", "v2")
	for _, name := range []string{"package-echo.tar", "package-zulu.tar"} {
		own := archive(name, "v1")
		for form, sources := range map[string][]string{"directory": {dir}, "sources in the order of a shell glob": {own, catalog}, "given first": {catalog, own}} {
			open := openWith(t, layoutstore.Options{Sources: sources})
			repo := repository(t, open, "deckhouse/ee/packages/echo/version")
			stable, err := repo.Tag(t.Context(), "stable")
			layouttest.Try(t, err)
			pinned, err := repo.Tag(t.Context(), "v1")
			layouttest.Try(t, err)
			if stable.Digest != pinned.Digest {
				t.Errorf("%s, %s: the tag stable is that of the catalog, want that of the package archive", name, form)
			}
			if _, err := repo.Tag(t.Context(), "v2"); err != nil {
				t.Errorf("%s, %s: Tag(v2) of the catalog: got error %v, want none", name, form, err)
			}
			if found := problems(t, open, layoutstore.Conflict); len(found) != 1 || found[0].Tag() != "stable" {
				t.Errorf("%s, %s: got problems %v, want one conflict", name, form, found)
			}
		}
		layouttest.Try(t, os.Remove(own))
	}
}
