package pull_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/pull/pulltest"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// varied returns a tree with every kind of content: plain images, an index, signatures with tags,
// and referrers of an image, of a child and of a referrer.
func varied(t *testing.T) *layouttest.Tree {
	t.Helper()
	tree := layouttest.New(t, t.TempDir())
	root := tree.Layout("shop")
	root.Tag(root.Image(layouttest.Image{Name: "root", LayerSizes: []int64{3000}}), "v1")
	root.Write()
	app := tree.Layout("shop/app")
	one := app.Image(layouttest.Image{Name: "one", LayerSizes: []int64{1000, 70_000}})
	app.Tag(one, "v1.0")
	app.Tag(one, "latest")
	two := app.Image(layouttest.Image{Name: "two", Docker: true, LayerSizes: []int64{2000}})
	app.Tag(two, "v2.0")
	arm := app.Image(layouttest.Image{Name: "arm", Platform: &specs.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}, LayerSizes: []int64{11}})
	amd := app.Image(layouttest.Image{Name: "amd", Platform: &specs.Platform{OS: "linux", Architecture: "amd64"}, LayerSizes: []int64{12}})
	multi := app.Index(layouttest.Index{Children: []specs.Descriptor{arm, amd}})
	app.Tag(multi, "multi")
	app.Tag(app.Image(layouttest.Image{Name: "signature", LayerSizes: []int64{13}}), "sha256-"+two.Digest.Encoded()+".sig")
	app.Tag(app.Image(layouttest.Image{Name: "sbom", LayerSizes: []int64{14}}), "sha256-"+amd.Digest.Encoded()+".sbom")
	refers := app.Image(layouttest.Image{Name: "refers", ArtifactType: "application/x.sbom", Subject: &one, LayerSizes: []int64{15}})
	app.Add(refers)
	app.Add(app.Image(layouttest.Image{Name: "refers to the image", ArtifactType: "application/x.signature", Subject: &refers, LayerSizes: []int64{16}}))
	app.Add(app.Image(layouttest.Image{Name: "refers to a child", ArtifactType: "application/x.signature", Subject: &amd, LayerSizes: []int64{17}}))
	app.Write()
	tree.Layout("shop/empty").Write()
	return tree
}

// sameReferrers fails the test unless the tagged images of got have the same referrers in both repositories.
func sameReferrers(t *testing.T, want, got *layoutstore.Repository) {
	t.Helper()
	tags, _ := got.Tags("", -1)
	for _, tag := range tags {
		d, err := got.Tag(t.Context(), tag)
		layouttest.Try(t, err)
		a, err := want.Referrers(context.Background(), d.Digest)
		layouttest.Try(t, err)
		b, err := got.Referrers(context.Background(), d.Digest)
		layouttest.Try(t, err)
		if diff := cmp.Diff(a, b); diff != "" {
			t.Errorf("the referrers of %s differ, want equal lists: %s", tag, diff)
		}
	}
}

// A pull of repositories keeps their names, tags, digests, complete indexes and referrers.
func TestPullKeepsRepositoriesUnchanged(t *testing.T) {
	tree := varied(t)
	r, _ := pulltest.Serve(t, tree.Dir())
	o := pulltest.Options(t, r, "shop")
	o.Planner = pull.Repositories{Paths: []string{"app", ".", "empty"}}
	pulltest.Run(t, o)
	files, err := filepath.Glob(o.Dir + "/*")
	layouttest.Try(t, err)
	want := []string{"app.tar", "bundle.json", "empty.tar", "root.tar"}
	for i, f := range files {
		files[i] = filepath.Base(f)
	}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Error(diff)
	}
	got, source := pulltest.OpenAt(t, "shop", o.Dir), pulltest.OpenBare(t, tree.Dir())
	pulltest.Intact(t, got)
	if diff := cmp.Diff(pulltest.Listed(t, source), pulltest.Listed(t, got)); diff != "" {
		t.Error(diff)
	}
	a, err := source.Repository("shop/app")
	layouttest.Try(t, err)
	b, err := got.Repository("shop/app")
	layouttest.Try(t, err)
	sameReferrers(t, a, b)
	// The references in the bundle contain the path from which the bundle was pulled.
	if auto := pulltest.OpenAt(t, layoutstore.AutoRoot, o.Dir); !slices.Equal(auto.Roots(), []string{"shop"}) {
		t.Errorf("roots = %q, want only shop", auto.Roots())
	}
}

// With a pattern for tags, a pull contains only the matching images and their referrers.
func TestTagsByGlob(t *testing.T) {
	tree := varied(t)
	r, _ := pulltest.Serve(t, tree.Dir())
	source, err := pulltest.OpenBare(t, tree.Dir()).Repository("shop/app")
	layouttest.Try(t, err)
	for glob, want := range map[string][]string{
		"v1*":    {"v1.0"},
		"v2.?":   {"v2.0", ".sig"},
		"multi":  {"multi", ".sbom"},
		"latest": {"latest"},
	} {
		o := pulltest.Options(t, r, "shop")
		o.Planner = pull.Repositories{Paths: []string{"app"}, Tag: glob}
		pulltest.Run(t, o)
		s := pulltest.OpenAt(t, "shop", o.Dir)
		pulltest.Intact(t, s)
		repo, err := s.Repository("shop/app")
		layouttest.Try(t, err)
		var got []string
		tags, _ := repo.Tags("", -1)
		for _, tag := range tags {
			if strings.HasPrefix(tag, "sha256-") {
				tag = filepath.Ext(tag)
			}
			got = append(got, tag)
		}
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("tags pulled with the pattern %s (-want +got): %s", glob, diff)
		}
		sameReferrers(t, source, repo)
	}
	o := pulltest.Options(t, r, "shop")
	o.Planner = pull.Repositories{Paths: []string{"app"}, Tag: "nothing*"}
	if _, err := pull.Run(t.Context(), o, nil); err == nil || !strings.Contains(err.Error(), `no tag of app matches "nothing*"`) {
		t.Errorf("pull with the pattern nothing*, which matches no tag: got error %v, want one that contains the pattern", err)
	}
}

// If the registry has no referrers API, a pull contains an image's referrers tag and the manifests
// that this tag lists.
func TestReferrersByTag(t *testing.T) {
	tree := varied(t)
	app := tree.Layout("shop/app")
	var subject specs.Descriptor
	source := pulltest.OpenBare(t, tree.Dir())
	repo, err := source.Repository("shop/app")
	layouttest.Try(t, err)
	one, err := repo.Tag(t.Context(), "v1.0")
	layouttest.Try(t, err)
	subject = specs.Descriptor{MediaType: one.MediaType, Digest: one.Digest, Size: one.Size}
	refers := app.Image(layouttest.Image{Name: "by tag", ArtifactType: "application/x.sbom", Subject: &subject, LayerSizes: []int64{15}})
	app.Tag(app.Index(layouttest.Index{Children: []specs.Descriptor{refers}}), "sha256-"+subject.Digest.Encoded())
	app.Write()
	r := registrytest.New(t, registrytest.Options{})
	pulltest.Push(t, r, pulltest.OpenBare(t, tree.Dir()))
	o := pulltest.Options(t, r, "shop/app")
	o.Planner = pull.Repositories{Paths: []string{"."}, Tag: "v1.0"}
	pulltest.Run(t, o)
	s := pulltest.OpenAt(t, "shop/app", o.Dir)
	pulltest.Intact(t, s)
	repo, err = s.Repository("shop/app")
	layouttest.Try(t, err)
	if list, err := repo.Referrers(context.Background(), subject.Digest); err != nil || !slices.ContainsFunc(list, func(d specs.Descriptor) bool { return d.Digest == refers.Digest }) {
		t.Errorf("Referrers = %v, error %v; want the image that refers to the subject", list, err)
	}
}

// If a platform is given, a tag of an index leads to the image for that platform.
func TestPullForOnePlatform(t *testing.T) {
	tree := varied(t)
	r, _ := pulltest.Serve(t, tree.Dir())
	o := pulltest.Options(t, r, "shop")
	o.Planner = pull.Repositories{Paths: []string{"app"}, Tag: "multi"}
	var err error
	o.Platform, err = pull.ParsePlatform("linux/aarch64")
	layouttest.Try(t, err)
	pulltest.Run(t, o)
	s := pulltest.OpenAt(t, "shop", o.Dir)
	pulltest.Intact(t, s)
	repo, err := s.Repository("shop/app")
	layouttest.Try(t, err)
	if d, err := repo.Tag(t.Context(), "multi"); err != nil || d.MediaType != specs.MediaTypeImageManifest {
		t.Errorf("tag multi = %v, error %v; want the manifest of an image", d, err)
	}
	o.Dir = t.TempDir()
	o.Platform = &pull.Platform{OS: "plan9", Architecture: "mips"}
	var incomplete *pull.IncompleteError
	if _, err := pull.Run(t.Context(), o, nil); !errors.As(err, &incomplete) || !strings.Contains(err.Error(), "multi: no image for plan9/mips in its index") {
		t.Errorf("pull for a platform that the index does not have: got error %v, want one about plan9/mips", err)
	}
	for _, bad := range []string{"", "linux", "linux/", "/amd64", "a/b/c/d"} {
		if _, err := pull.ParsePlatform(bad); !errors.Is(err, pull.ErrUsage) {
			t.Errorf("ParsePlatform(%q): got error %v, want ErrUsage", bad, err)
		}
	}
}

// A pull into a directory with an older bundle keeps unchanged archives. For changed archives, it
// fetches only new blobs.
func TestPullOverOlderBundle(t *testing.T) {
	tree := varied(t)
	r, refresh := pulltest.Serve(t, tree.Dir())
	o := pulltest.Options(t, r, "shop")
	o.Planner = pull.Repositories{Paths: []string{"app", "."}}
	pulltest.Run(t, o)
	before := map[string]os.FileInfo{}
	for _, name := range []string{"app.tar", "root.tar"} {
		info, err := os.Stat(filepath.Join(o.Dir, name))
		layouttest.Try(t, err)
		before[name] = info
	}
	r.Forget()
	report := pulltest.Run(t, o)
	if n := r.Kinds()["GET blobs"]; n != 0 || len(report.Written) != 0 || len(report.Kept) != 2 {
		t.Errorf("a second pull fetched %d blobs, want 0; it wrote %q, want nothing, and kept %q, want 2 archives", n, report.Written, report.Kept)
	}

	app := tree.Layout("shop/app")
	app.Tag(app.Image(layouttest.Image{Name: "three", LayerSizes: []int64{1000, 5000}}), "v3.0")
	app.Write()
	refresh()
	r.Forget()
	report = pulltest.Run(t, o)
	if n := r.Kinds()["GET blobs"]; n != 3 || !slices.Equal(report.Written, []string{"app.tar"}) || !slices.Equal(report.Kept, []string{"root.tar"}) {
		t.Errorf("the pull fetched %d blobs, want the 3 new ones; it wrote %q, want app.tar, and kept %q, want root.tar", n, report.Written, report.Kept)
	}
	if info, err := os.Stat(filepath.Join(o.Dir, "root.tar")); err != nil || !os.SameFile(info, before["root.tar"]) || !info.ModTime().Equal(before["root.tar"].ModTime()) {
		t.Errorf("the pull changed root.tar, want the same file with the same time: %v", err)
	}
	s := pulltest.OpenAt(t, "shop", o.Dir)
	pulltest.Intact(t, s)
	if diff := cmp.Diff(pulltest.Listed(t, pulltest.OpenBare(t, tree.Dir())), pulltest.Listed(t, s)); diff != "" {
		t.Error(diff)
	}

	// If only the form of the bundle changes, a pull fetches nothing. Here, archives become chunks
	// with checksums, and then archives again.
	r.Forget()
	o.ChunkSize, o.NewSum = 30_000, sha256.New
	pulltest.Run(t, o)
	if _, err := os.Stat(filepath.Join(o.Dir, "app.tar")); err == nil {
		t.Error("after a pull of chunks, app.tar exists beside them, want it removed")
	}
	chunk, err := os.ReadFile(filepath.Join(o.Dir, "app.tar.0002.chunk"))
	layouttest.Try(t, err)
	sum, err := os.ReadFile(filepath.Join(o.Dir, "app.tar.0002.chunk.gostsum"))
	layouttest.Try(t, err)
	if h := sha256.Sum256(chunk); len(chunk) != 30_000 || string(sum) != hex.EncodeToString(h[:]) {
		t.Errorf("the chunk has %d bytes, want 30000; its checksum file contains %q, want %x", len(chunk), sum, h)
	}
	pulltest.Intact(t, pulltest.OpenAt(t, "shop", o.Dir))

	// A pull keeps chunks that d8 has written, if it would write the same chunks itself.
	o.NewSum = nil
	joined(t, o.Dir, "app.tar")
	layouttest.Split(t, filepath.Join(o.Dir, "app.tar"), o.ChunkSize)
	if report := pulltest.Run(t, o); len(report.Written) > 0 || len(report.Kept) != 2 {
		t.Errorf("Written = %q, Kept = %q; want nothing written and 2 archives kept", report.Written, report.Kept)
	}
	o.NewSum = sha256.New
	o.ChunkSize = 0
	pulltest.Run(t, o)
	left, err := filepath.Glob(o.Dir + "/*")
	layouttest.Try(t, err)
	if len(left) != 5 { // two archives, their checksum files, and the inventory
		t.Errorf("files in the directory: %q, want 5", left)
	}
	layouttest.Try(t, os.Remove(filepath.Join(o.Dir, "root.tar.gostsum")))
	if report := pulltest.Run(t, o); !slices.Equal(report.Written, []string{"root.tar.gostsum"}) {
		t.Errorf("Written = %q, want only root.tar.gostsum", report.Written)
	}
	if n := r.Kinds()["GET blobs"]; n != 0 {
		t.Errorf("the pulls fetched %d blobs, want 0", n)
	}
	pulltest.Intact(t, pulltest.OpenAt(t, "shop", o.Dir))
}

// joined joins the chunks of an archive into one file, and removes the chunks' checksum files.
func joined(t *testing.T, dir, archive string) {
	t.Helper()
	file := filepath.Join(dir, archive)
	chunks, err := filepath.Glob(file + ".*.chunk")
	layouttest.Try(t, err)
	var all []byte
	for _, chunk := range chunks {
		data, err := os.ReadFile(chunk)
		layouttest.Try(t, err)
		all = append(all, data...)
		layouttest.Try(t, os.Remove(chunk))
		layouttest.Try(t, os.Remove(chunk+".gostsum"))
	}
	layouttest.Try(t, os.WriteFile(file, all, 0o644))
}

// If a blob in an older archive is damaged, a pull fetches it again.
func TestDamagedOlderBundle(t *testing.T) {
	tree := varied(t)
	r, refresh := pulltest.Serve(t, tree.Dir())
	o := pulltest.Options(t, r, "shop")
	o.Planner = pull.Repositories{Paths: []string{"app"}}
	pulltest.Run(t, o)
	data, err := os.ReadFile(filepath.Join(o.Dir, "app.tar"))
	layouttest.Try(t, err)
	largest := 0
	for _, p := range layouttest.Places(t, filepath.Join(o.Dir, "app.tar")) {
		if p.End-p.Body > 70_000 {
			largest = int(p.Body)
		}
	}
	data[largest+100] ^= 1
	layouttest.Try(t, os.WriteFile(filepath.Join(o.Dir, "app.tar"), data, 0o644))
	app := tree.Layout("shop/app")
	app.Tag(app.Image(layouttest.Image{Name: "three", LayerSizes: []int64{1000}}), "v3.0")
	app.Write()
	refresh()
	r.Forget()
	pulltest.Run(t, o)
	if n := r.Kinds()["GET blobs"]; n != 3 { // two new blobs and the damaged one
		t.Errorf("the pull fetched %d blobs, want 3", n)
	}
	sameTree(t, tree.Dir(), o.Dir)
}

// sameTree fails unless each repository of got has all tags and digests of want. It also verifies got.
func sameTree(t *testing.T, want, got string) {
	t.Helper()
	s := pulltest.OpenAt(t, "shop", got)
	pulltest.Intact(t, s)
	served := pulltest.Listed(t, s)
	for key, d := range pulltest.Listed(t, pulltest.OpenBare(t, want)) {
		if name, _, _ := strings.Cut(key, ":"); served[key] != d {
			if _, err := s.Repository(name); err == nil {
				t.Errorf("%s has the digest %s, want %s", key, served[key], d)
			}
		}
	}
	pulltest.ProveAll(t, s)
}

// A pull can write a tree. Another pull can update the tree.
func TestPullIntoATree(t *testing.T) {
	tree := varied(t)
	r, refresh := pulltest.Serve(t, tree.Dir())
	o := pulltest.Options(t, r, "shop")
	o.Planner, o.Tree = pull.Repositories{Paths: []string{"app", ".", "empty"}}, true
	pulltest.Run(t, o)
	sameTree(t, tree.Dir(), o.Dir)
	if diff := cmp.Diff(pulltest.Listed(t, pulltest.OpenBare(t, tree.Dir())), pulltest.Listed(t, pulltest.OpenAt(t, "shop", o.Dir))); diff != "" {
		t.Error(diff)
	}
	app := tree.Layout("shop/app")
	app.Tag(app.Image(layouttest.Image{Name: "three", LayerSizes: []int64{1000}}), "v3.0")
	app.Write()
	refresh()
	r.Forget()
	pulltest.Run(t, o)
	if n := r.Kinds()["GET blobs"]; n != 2 {
		t.Errorf("the pull fetched %d blobs, want the 2 new ones", n)
	}
	sameTree(t, tree.Dir(), o.Dir)
}

func TestWrongUsage(t *testing.T) {
	r, _ := pulltest.Serve(t, varied(t).Dir())
	repositories := func(tag string, paths ...string) func(o *pull.Options) {
		return func(o *pull.Options) { o.Planner = pull.Repositories{Paths: paths, Tag: tag} }
	}
	for name, change := range map[string]func(*pull.Options){
		"tag pattern":         repositories("[", "app"),
		"illegal repository":  repositories("", "../app"),
		"empty repository":    repositories("", ""),
		"absolute repository": repositories("", "/app"),
		"a slash":             repositories("", "/"),
		"nothing to pull":     func(o *pull.Options) { o.Planner = nil },
		"tree and chunks":     func(o *pull.Options) { o.Tree, o.ChunkSize = true, 1 },
		"tree and checksums":  func(o *pull.Options) { o.Tree, o.NewSum = true, sha256.New },
	} {
		o := pulltest.Options(t, r, "shop")
		o.Planner = pull.Repositories{Paths: []string{"app"}}
		change(&o)
		r.Forget()
		if _, err := pull.Run(t.Context(), o, nil); !errors.Is(err, pull.ErrUsage) {
			t.Errorf("%s: got error %v, want ErrUsage", name, err)
		}
		if n := len(r.Requests()); n != 0 {
			t.Errorf("%s: the pull sent %d requests, want 0", name, n)
		}
	}
}

// If another pull is writing to the same directory, a pull fails.
func TestConcurrentPulls(t *testing.T) {
	r, _ := pulltest.Serve(t, varied(t).Dir())
	o := pulltest.Options(t, r, "shop")
	o.Planner = pull.Repositories{Paths: []string{"app"}}
	inside := make(chan error)
	r.Inject(func(w http.ResponseWriter, req *http.Request, next http.Handler) bool {
		if strings.HasSuffix(req.URL.Path, "/tags/list") {
			_, err := pull.Run(req.Context(), o, nil)
			inside <- err
		}
		return false
	})
	done := make(chan error)
	go func() {
		_, err := pull.Run(t.Context(), o, nil)
		done <- err
	}()
	if err := <-inside; err == nil || !strings.Contains(err.Error(), "another pull") {
		t.Errorf("second pull at the same time: got error %v, want one that says that another pull is running", err)
	}
	layouttest.Try(t, <-done)
}

// A pull does not resume from state that is more than a day old.
func TestOldState(t *testing.T) {
	tree := varied(t)
	r, _ := pulltest.Serve(t, tree.Dir())
	o := pulltest.Options(t, r, "shop")
	o.Planner = pull.Repositories{Paths: []string{"app"}}
	o.Jobs = 1 // one at a time, so that all blobs before the refused one are complete
	breakBlobs := func() {
		r.Inject(registrytest.Answer(registrytest.Nth(4, 1000, registrytest.On("GET blobs")), http.StatusForbidden))
	}
	breakBlobs()
	for _, age := range []time.Duration{23 * time.Hour, 25 * time.Hour} {
		if _, err := pull.Run(t.Context(), o, nil); err == nil {
			t.Fatal("the pull returned no error, want one because the registry refused a blob")
		}
		there := finished(t, o.Dir)
		then := time.Now().Add(-age)
		layouttest.Try(t, os.Chtimes(filepath.Join(o.Dir, ".tmp/layoutproxy/state"), then, then))
		r.Heal()
		r.Forget()
		pulltest.Run(t, o)
		again := 0
		for _, q := range r.Requests() {
			if q.Kind() == "GET blobs" && there[q.Path[strings.LastIndex(q.Path, ":")+1:]] {
				again++
			}
		}
		if (again > 0) != (age > 24*time.Hour) {
			t.Errorf("state of an age of %s: the next pull fetched %d of its %d blobs again, want some only after 24 hours", age, again, len(there))
		}
		o.Dir = t.TempDir()
		breakBlobs()
	}
}

// A pull keeps the files of other archives, even those with similar names.
func TestOtherArchivesAreKept(t *testing.T) {
	tree := varied(t)
	r, _ := pulltest.Serve(t, tree.Dir())
	o := pulltest.Options(t, r, "shop")
	o.Planner = pull.Repositories{Paths: []string{"app"}}
	others := []string{"app.tar.more.tar", "app.tar.more.tar.0000.chunk", "app.tar.more.tar.gostsum", "app.tar.tmp", "deckhousereleases.yaml", "notes.txt"}
	for _, name := range append([]string{"app.tar.0000.chunk", "app.tar.0001.chunk.gostsum", "app.tar.gostsum"}, others...) {
		layouttest.Try(t, os.WriteFile(filepath.Join(o.Dir, name), []byte(name), 0o644))
	}
	layouttest.Try(t, os.MkdirAll(filepath.Join(o.Dir, ".tmp/platform"), 0o755)) // this directory belongs to another tool
	if _, err := pull.Run(t.Context(), o, nil); err != nil {
		t.Fatal(err)
	}
	want := append([]string{".tmp", "app.tar", "bundle.json"}, others...)
	slices.Sort(want)
	var got []string
	entries, err := os.ReadDir(o.Dir)
	layouttest.Try(t, err)
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Some repositories have archives of the same name. A pull of one of them is refused if it would remove the other
// one from the bundle. A pull of both succeeds.
func TestArchivesOfTheSameName(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	for _, at := range []string{"shop", "shop/a/b", "shop/a_b", "shop/root"} {
		l := tree.Layout(at)
		l.Tag(l.Image(layouttest.Image{Name: at, LayerSizes: []int64{100}}), "v1")
		l.Write()
	}
	r, _ := pulltest.Serve(t, tree.Dir())
	for _, pair := range [][2]string{{"a/b", "a_b"}, {"a_b", "a/b"}, {".", "root"}, {"root", "."}} {
		dir := t.TempDir()
		pulltest.Run(t, form{}.options(t, r, dir, pair[0]))
		before, err := readBundle(t, dir)
		layouttest.Try(t, err)
		if _, err := pull.Run(t.Context(), form{}.options(t, r, dir, pair[1]), nil); !errors.Is(err, pull.ErrUsage) || !strings.Contains(err.Error(), "add --repository "+pair[0]+",") {
			t.Errorf("a pull of %s over one of %s: got error %v, want ErrUsage that says to add %s", pair[1], pair[0], err, pair[0])
		}
		got, err := readBundle(t, dir)
		if diff := cmp.Diff(before, got); diff != "" || err != nil {
			t.Errorf("the refused pull of %s changed the bundle (-before +after, error %v): %s", pair[1], err, diff)
		}
		for range 2 { // the second pull finds an archive with both repositories
			pulltest.Run(t, form{}.options(t, r, dir, pair[:]...))
			if got, err := readBundle(t, dir); err != nil || len(got) != 2 {
				t.Errorf("after a pull of %q, the bundle has the tags %v, error %v; want 1 tag of each", pair, got, err)
			}
		}
	}
}

// A pull fails if the registry has a manifest of an old format, which a layout cannot contain.
func TestOldManifests(t *testing.T) {
	for _, typ := range []string{"application/vnd.docker.distribution.manifest.v1+prettyjws", "application/json"} {
		r := registrytest.New(t, registrytest.Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			switch {
			case strings.HasSuffix(q.URL.Path, "/tags/list"):
				_, _ = w.Write([]byte(`{"tags":["old"]}`))
			case strings.HasSuffix(q.URL.Path, "/manifests/old"):
				w.Header().Set("Content-Type", typ)
				_, _ = w.Write([]byte(`{"schemaVersion":1,"fsLayers":[]}`))
			case q.URL.Path != "/v2/":
				http.NotFound(w, q)
			}
		})})
		o := pulltest.Options(t, r, "shop")
		o.Planner = pull.Repositories{Paths: []string{"app"}}
		var incomplete *pull.IncompleteError
		if _, err := pull.Run(t.Context(), o, nil); !errors.As(err, &incomplete) || len(incomplete.Problems) != 1 || incomplete.Problems[0].Tag() != "old" {
			t.Errorf("manifest of type %s: got error %v, want an *IncompleteError with 1 problem, about the tag old", typ, err)
		}
		pulltest.NothingPublished(t, o.Dir)
	}
}
