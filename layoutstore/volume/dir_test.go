package volume_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume/volumetest"
)

func openDir(t *testing.T, dir string) *volume.Dir {
	t.Helper()
	v, err := volume.OpenDir(dir)
	layouttest.Try(t, err)
	return v
}

func TestDirConformance(t *testing.T) {
	volumetest.Run(t, func(t *testing.T, tree *layouttest.Tree) volume.Volume { return openDir(t, tree.Dir()) })
}

// tree writes a layout with one blob at each path. It returns the blob of the last layout.
func tree(t *testing.T, dir string, paths ...string) (layer digest.Digest) {
	t.Helper()
	tr := layouttest.New(t, dir)
	for _, p := range paths {
		l := tr.Layout(p)
		layer = l.Blob("application/octet-stream", []byte("layer of "+p)).Digest
		l.Write()
	}
	return layer
}

func symlink(t *testing.T, target, name string) {
	t.Helper()
	layouttest.Try(t, os.MkdirAll(filepath.Dir(name), 0o755))
	layouttest.Try(t, os.Symlink(target, name))
}

func listLayouts(t *testing.T, v *volume.Dir) (layouts []string, problems map[string]problem.Problem) {
	t.Helper()
	listing, err := v.Layouts(context.Background())
	layouttest.Try(t, err)
	for _, l := range listing.Layouts {
		layouts = append(layouts, l.Path)
	}
	problems = map[string]problem.Problem{}
	for _, f := range listing.Problems {
		problems[f.Path] = f
	}
	return layouts, problems
}

func TestFollowLinksInsideTree(t *testing.T) {
	dir := t.TempDir()
	layer := tree(t, dir, "modules/x")
	symlink(t, "modules", filepath.Join(dir, "linked"))
	// A blob and an index are links to files elsewhere in the tree.
	encoded := layer.Encoded()
	symlink(t, "../../../modules/x/blobs/sha256/"+encoded, filepath.Join(dir, "shared/blobs/sha256", encoded))
	symlink(t, "../modules/x/index.json", filepath.Join(dir, "shared/index.json"))
	v := openDir(t, dir)
	layouts, problems := listLayouts(t, v)
	if diff := cmp.Diff([]string{"linked/x", "modules/x", "shared"}, layouts); diff != "" || len(problems) > 0 {
		t.Fatalf("the layouts differ from those wanted: %s; got the problems %v, want none", diff, problems)
	}
	for _, layout := range layouts {
		where, err := v.Locate(t.Context(), layout, layer)
		layouttest.Try(t, err)
		if got, err := where.ReadAll(t.Context()); digest.FromBytes(got) != layer {
			t.Errorf("blob in %s: got %q and the error %v, want the content of the blob", layout, got, err)
		}
	}
}

func TestLinksOutOfTree(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	layer := tree(t, outside, "x")
	own := tree(t, dir, "good")
	symlink(t, outside, filepath.Join(dir, "absolute"))
	symlink(t, "../"+filepath.Base(outside), filepath.Join(dir, "relative"))
	symlink(t, "nowhere", filepath.Join(dir, "dangling"))
	symlink(t, filepath.Join(outside, "x/index.json"), filepath.Join(dir, "index/index.json"))
	symlink(t, filepath.Join(outside, "x/blobs"), filepath.Join(dir, "blob/blobs"))
	v := openDir(t, dir)
	layouts, problems := listLayouts(t, v)
	if diff := cmp.Diff([]string{"good"}, layouts); diff != "" {
		t.Error(diff)
	}
	const reason = "a link that leads out of the source or nowhere"
	for _, path := range []string{"absolute", "relative", "dangling", "index/index.json"} {
		if f, ok := problems[path]; !ok || !strings.Contains(f.Reason, reason) {
			t.Errorf("got the problems %[2]v, want one for the link %[1]s", path, problems)
		}
	}
	file := filepath.Join(dir, "good/blobs/sha256", own.Encoded())
	layouttest.Try(t, os.Remove(file))
	symlink(t, filepath.Join(outside, "x/blobs/sha256", layer.Encoded()), file)
	if _, err := v.Locate(t.Context(), "good", own); err == nil || !strings.Contains(err.Error(), reason) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Locate of a blob that is a link out of the tree: got %v, want an error that names the link as the reason", err)
	}
	layouttest.Try(t, os.Remove(file))
	symlink(t, "nowhere", file)
	if _, err := v.Locate(t.Context(), "good", own); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Locate of a blob that is a link to nothing: got %v, want ErrNotExist", err)
	}
	if where, err := v.Locate(t.Context(), "blob", layer); err == nil {
		t.Errorf("Locate of a blob outside of the tree: got %s, want an error", where)
	}
}

func TestLinkCycle(t *testing.T) {
	dir := t.TempDir()
	tree(t, dir, "a/b")
	symlink(t, "..", filepath.Join(dir, "a/b/up"))
	symlink(t, ".", filepath.Join(dir, "self"))
	layouts, problems := listLayouts(t, openDir(t, dir))
	if diff := cmp.Diff([]string{"a/b"}, layouts); diff != "" {
		t.Error(diff)
	}
	for _, path := range []string{"a/b/up", "self"} {
		if f := problems[path]; f.Kind != problem.Limited {
			t.Errorf("%s: got %v, want a problem of kind limited", path, f)
		}
	}
}

func TestSourceIsLinkToDirectory(t *testing.T) {
	dir := t.TempDir()
	tree(t, filepath.Join(dir, "one"), "x")
	tree(t, filepath.Join(dir, "two"), "y")
	link := filepath.Join(dir, "link")
	symlink(t, "one", link)
	first, again := openDir(t, link), openDir(t, link)
	if !first.SameAs(again) {
		t.Error("SameAs of the same directory = false, want true")
	}
	layouttest.Try(t, os.Remove(link))
	symlink(t, "two", link)
	if second := openDir(t, link); second.SameAs(first) {
		t.Error("SameAs of two different directories = true, want false")
	}
}

func TestBlobsDirectoryIsReplaced(t *testing.T) {
	dir := t.TempDir()
	tree(t, dir, "x")
	v := openDir(t, dir)
	old := digest.FromString("layer of x")
	if _, err := v.Locate(t.Context(), "x", old); err != nil {
		t.Fatal(err)
	}
	layouttest.Try(t, os.Rename(filepath.Join(dir, "x"), filepath.Join(dir, ".old")))
	l := layouttest.New(t, dir).Layout("x")
	fresh := l.Blob("application/octet-stream", []byte("new")).Digest
	l.Write()
	where, err := v.Locate(t.Context(), "x", fresh)
	layouttest.Try(t, err)
	if got, err := where.ReadAll(t.Context()); string(got) != "new" {
		t.Errorf("blob in the new directory: got %q and the error %v, want the content new", got, err)
	}
}

func TestDirectoriesInPlaceOfFilesAreProblems(t *testing.T) {
	dir := t.TempDir()
	layer := tree(t, dir, "x")
	name := filepath.Join(dir, "x/blobs/sha256", layer.Encoded())
	layouttest.Try(t, os.Remove(name))
	layouttest.Try(t, os.Mkdir(name, 0o755))
	layouttest.Try(t, os.MkdirAll(filepath.Join(dir, "y/index.json"), 0o755))
	v := openDir(t, dir)
	if _, err := v.Locate(t.Context(), "x", layer); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Locate of a directory in place of a blob: got %v, want an error other than ErrNotExist", err)
	}
	if _, problems := listLayouts(t, v); problems["y/index.json"].Kind != problem.Damaged {
		t.Errorf("a directory in place of y/index.json: got the problems %v, want one of kind damaged", problems)
	}
}

func TestLayoutWithoutIndex(t *testing.T) {
	dir := t.TempDir()
	tree(t, dir, "x", "x/below")
	layouttest.Try(t, os.Remove(filepath.Join(dir, "x/index.json")))
	layouts, problems := listLayouts(t, openDir(t, dir))
	if diff := cmp.Diff([]string{"x/below"}, layouts); diff != "" {
		t.Error(diff)
	}
	if f := problems["x"]; f.Kind != problem.Incomplete || !strings.Contains(f.String(), "index.json") {
		t.Errorf("got the problem %v, want a missing index.json", f)
	}
}

func TestStampChangesWithEachWrite(t *testing.T) {
	dir := t.TempDir()
	tree(t, dir, "x")
	index := filepath.Join(dir, "x/index.json")
	stamp := func() volume.Stamp {
		t.Helper()
		listing, err := openDir(t, dir).Layouts(context.Background())
		if err != nil || len(listing.Layouts) != 1 {
			t.Fatalf("Layouts: got %v and the error %v, want one layout", listing, err)
		}
		return listing.Layouts[0].Stamp
	}
	young := stamp()
	if stamp().Same(young) {
		t.Error("two stamps of a file that was just written are the same, want different ones")
	}
	data, err := os.ReadFile(index)
	layouttest.Try(t, err)
	long := time.Now().Add(-time.Hour)
	for name, change := range map[string]func() error{
		"written in place": func() error { return os.WriteFile(index, append(data, '\n'), 0o644) },
		"replaced by a rename, with the size and time of the old file": func() error {
			if err := os.WriteFile(index+".new", data, 0o644); err != nil {
				return err
			}
			if err := os.Chtimes(index+".new", long, long); err != nil {
				return err
			}
			return os.Rename(index+".new", index)
		},
	} {
		layouttest.Try(t, os.WriteFile(index, data, 0o644))
		layouttest.Try(t, os.Chtimes(index, long, long))
		before := stamp()
		if !stamp().Same(before) {
			t.Errorf("%s: before the write, two stamps differ, want the same", name)
		}
		layouttest.Try(t, change())
		if stamp().Same(before) {
			t.Errorf("%s: after the write, the stamp is the same as before, want a different one", name)
		}
	}
}
