package pull_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/pull/pulltest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// A pull already writes an archive while the archive's last blob is still being fetched.
func TestArchiveIsWrittenDuringTheFetch(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("app")
	l.Tag(l.Image(layouttest.Image{Name: "app", LayerSizes: []int64{300_000, 300_000, 300_000}}), "v1")
	l.Write()
	r, _ := pulltest.Serve(t, tree.Dir())
	files, err := os.ReadDir(filepath.Join(tree.Dir(), "app/blobs/sha256"))
	layouttest.Try(t, err)
	last := ""
	for _, f := range slices.Backward(files) { // the files are sorted by name, like the blobs in the archive
		if info, err := f.Info(); err == nil && info.Size() >= 300_000 {
			last = f.Name()
			break
		}
	}
	stall, release := registrytest.Stall(registrytest.First(1, func(q *http.Request) bool { return q.Method == http.MethodGet && strings.HasSuffix(q.URL.Path, last) }))
	r.Inject(stall)
	defer release()

	o := pulltest.Options(t, r, "")
	o.Planner = pull.Repositories{Paths: []string{"app"}}
	done := make(chan error, 1)
	go func() { _, err := pull.Run(t.Context(), o, nil); done <- err }()
	packing := filepath.Join(o.Dir, ".tmp/layoutproxy/packing/app.tar")
	for deadline := time.Now().Add(time.Minute); ; {
		if info, err := os.Stat(packing); err == nil && info.Size() > 300_000 {
			break
		}
		select {
		case err := <-done:
			t.Fatalf("the pull ended with error %v before it had the last blob, want it to wait for this blob", err)
		case <-time.After(time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatal("the pull wrote no archive before it fetched the last blob, want some bytes")
		}
	}
	release()
	layouttest.Try(t, <-done)
	pulltest.ProveAll(t, pulltest.OpenBare(t, o.Dir))
}
