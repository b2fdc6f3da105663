package pull_test

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/pull/pulltest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// elsewhere returns a new directory on another file system than t.TempDir.
func elsewhere(t *testing.T) string {
	t.Helper()
	other := "/dev/shm"
	if strings.HasPrefix(t.TempDir(), other) {
		other = "/tmp"
	}
	dir, err := os.MkdirTemp(other, "layoutproxy-test-")
	if err != nil {
		t.Logf("using a directory on the same file system: %v", err)
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func filesBelow(t *testing.T, dir string) (all []string) {
	t.Helper()
	layouttest.Try(t, filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			all = append(all, strings.TrimPrefix(name, dir))
		}
		return err
	}))
	return all
}

// If TempDir is on another file system, the bundle is the same as without TempDir, and the next
// pull resumes. At the end, TempDir is empty.
func TestTempDir(t *testing.T) {
	tree := varied(t)
	large := finishedLayers(t, tree, 70_000)[0]
	blob := func(r *http.Request) bool {
		return registrytest.On("GET blobs")(r) && strings.HasSuffix(r.URL.Path, large)
	}
	for _, form := range []string{"archives", "chunks", "tree"} {
		t.Run(form, func(t *testing.T) {
			r, _ := pulltest.Serve(t, tree.Dir())
			o := pulltest.Options(t, r, "shop")
			o.Planner, o.Tree = pull.Repositories{Paths: []string{"app", "."}}, form == "tree"
			if form == "chunks" {
				o.ChunkSize = 10_000
			}
			pulltest.Run(t, o)
			want := contents(t, o.Dir)

			o.Dir, o.TempDir = t.TempDir(), filepath.Join(elsewhere(t), "made")
			c, err := client.New(client.Options{Registry: r.Host, PlainHTTP: true, Retries: -1})
			layouttest.Try(t, err)
			defer c.Close()
			o.Registry = c
			r.Inject(registrytest.Truncate(registrytest.First(1, blob), 20_000))
			if _, err := pull.Run(t.Context(), o, nil); err == nil {
				t.Fatal("the pull returned no error, want one because a download was cut off")
			}
			expectNoBlobs(t, o.Dir)
			if kept := filesBelow(t, o.TempDir); len(kept) == 0 {
				t.Error("the failed pull kept no files in TempDir, want its state there")
			}
			other := o // a pull of another bundle uses another working directory
			other.Dir = t.TempDir()
			pulltest.Run(t, other)
			r.Forget()
			pulltest.Run(t, o)
			resumed := 0
			for _, q := range r.Requests() {
				// Count only this blob, because other downloads may have been cut, too.
				if q.Status == http.StatusPartialContent && strings.HasSuffix(q.Path, large) {
					resumed++
				}
			}
			if resumed != 1 {
				t.Errorf("got %d requests for the rest of the large blob, want 1", resumed)
			}
			for _, dir := range []string{o.Dir, other.Dir} {
				if diff := cmp.Diff(want, contents(t, dir)); diff != "" {
					t.Error(diff)
				}
			}
			left, err := os.ReadDir(o.TempDir)
			layouttest.Try(t, err)
			if len(left) > 0 {
				t.Errorf("files in TempDir after the pull: %v, want none", left)
			}
		})
	}
}

// expectNoBlobs fails the test if an interrupted pull left blobs in the bundle's directory.
func expectNoBlobs(t *testing.T, dir string) {
	t.Helper()
	for _, name := range filesBelow(t, dir) {
		if strings.Contains(name, "/blobs/") && strings.HasPrefix(name, "/.tmp") || strings.Contains(name, "/parts/") {
			t.Errorf("the bundle's directory contains the temporary file %s, want it in TempDir", name)
		}
	}
}

// If a pull has published a bundle but cannot remove its working directory, it returns its report and an error.
func TestPullThatCannotCleanUp(t *testing.T) {
	r, _ := pulltest.Serve(t, varied(t).Dir())
	o := pulltest.Options(t, r, "shop")
	o.Planner = pull.Repositories{Paths: []string{"app"}}
	work, moved := filepath.Join(o.Dir, ".tmp"), filepath.Join(t.TempDir(), "moved")
	o.SetReached(func(point string) {
		if point == "finish" { // with a file in place of .tmp, even root cannot remove a directory below it
			layouttest.Try(t, os.Rename(work, moved))
			layouttest.Try(t, os.WriteFile(work, nil, 0o644))
		}
	})
	report, err := pull.Run(t.Context(), o, nil)
	if err == nil || !strings.Contains(err.Error(), "the bundle is published") || report == nil {
		t.Errorf("got report %v and error %v, want a report, and an error that says that the bundle is published", report, err)
	}
	if tags, err := readBundle(t, o.Dir); err != nil || len(tags) == 0 {
		t.Errorf("the bundle has the tags %v, error %v; want some tags, and no error", tags, err)
	}
}

// Other users may be able to write to TempDir. A pull refuses links and files that they have
// created under the name of its working directory.
func TestForeignTempDir(t *testing.T) {
	tree := varied(t)
	r, _ := pulltest.Serve(t, tree.Dir())
	o := pulltest.Options(t, r, "shop")
	o.Planner, o.TempDir = pull.Repositories{Paths: []string{"."}}, t.TempDir()
	r.Inject(registrytest.Answer(registrytest.First(1, registrytest.On("GET tags")), http.StatusForbidden))
	if _, err := pull.Run(t.Context(), o, nil); err == nil {
		t.Fatal("the pull returned no error, want one because the registry refused a request")
	}
	made, err := filepath.Glob(filepath.Join(o.TempDir, "*"))
	layouttest.Try(t, err)
	if len(made) != 1 {
		t.Fatalf("directories in TempDir after the failed pull: %q, want 1", made)
	}
	victim := t.TempDir()
	for what, put := range map[string]func() error{
		"a link": func() error { return os.Symlink(victim, made[0]) },
		"a file": func() error { return os.WriteFile(made[0], nil, 0o644) },
	} {
		layouttest.Try(t, os.RemoveAll(made[0]))
		layouttest.Try(t, put())
		if _, err := pull.Run(t.Context(), o, nil); err == nil || !strings.Contains(err.Error(), made[0]) {
			t.Errorf("%s in place of the working directory: got error %v, want one that contains %s", what, err, made[0])
		}
		if left := filesBelow(t, victim); len(left) > 0 {
			t.Errorf("%s in place of the working directory: the pull wrote %q there, want no files", what, left)
		}
	}
	layouttest.Try(t, os.Remove(made[0]))
	pulltest.Run(t, o)
}
