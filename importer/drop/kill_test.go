package drop_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/importer/drop"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
)

// moveCase is a bundle, and what happens to its files after the import: they are moved to done/ or removed.
type moveCase struct {
	name    string
	remove  bool
	prepare func(t *testing.T, dir string)
}

func moveCases() []moveCase {
	tree := func(t *testing.T, dir string) {
		importertest.Must(t, os.MkdirAll(filepath.Join(dir, "bundle"), 0o755))
		importertest.Must(t, os.CopyFS(filepath.Join(dir, "bundle"), os.DirFS(importertest.AppTree(t, "a", "1.0").Dir())))
		importertest.Must(t, os.Symlink("app/a/index.json", filepath.Join(dir, "bundle", "link")))
	}
	document := func(t *testing.T, dir string) {
		tree(t, dir)
		importertest.Must(t, os.WriteFile(filepath.Join(dir, "bundle", "app", "README"), []byte("read me"), 0o644))
	}
	return []moveCase{
		{"chunks moved to done", false, importertest.Chunks},
		{"chunks removed", true, importertest.Chunks},
		{"a directory moved to done", false, tree},
		{"a directory removed", true, tree},
		{"a directory with a document moved to done", false, document},
		{"a directory with a document removed", true, document},
	}
}

// If a process is killed while it moves the files of an imported bundle, the next process completes
// the move. New files that arrive meanwhile stay. No file is lost, and no file waits forever.
func TestKilledWhileMovingFiles(t *testing.T) {
	for _, c := range moveCases() {
		t.Run(c.name, func(t *testing.T) {
			if strings.Contains(c.name, "document removed") && os.Getenv("LAYOUTPROXY_TEST_ALL") == "" {
				t.Skip("runs only with LAYOUTPROXY_TEST_ALL=1, because another case removes a directory, too")
			}
			n := 1
			for ; c.killAtStep(t, n, false); n++ {
				if n%4 == 2 || os.Getenv("LAYOUTPROXY_TEST_ALL") != "" {
					c.killAtStep(t, n, true)
				}
			}
			if n < 2 {
				t.Error("no process was killed, so this test checked nothing")
			}
		})
	}
}

// endingContext is a context that ends when it is asked for the nth time whether it has ended.
type endingContext struct {
	context.Context
	cancel   func()
	counting bool
	left     int
}

func (c *endingContext) Err() error {
	if c.counting {
		if c.left--; c.left == 0 {
			c.cancel()
		}
	}
	return c.Context.Err()
}

// If a server is stopped after it has published a directory, whatever it was doing, the next process moves
// the directory to done/.
func TestStoppedAfterPublication(t *testing.T) {
	stopped := true
	n := 1
	for ; stopped; n++ {
		d := newDropping(t)
		importertest.Must(t, os.CopyFS(filepath.Join(d.dir, "bundle"), os.DirFS(importertest.AppTree(t, "a", "1.0").Dir())))
		inner, cancel := context.WithCancel(t.Context())
		ctx := &endingContext{Context: inner, cancel: cancel, left: n}
		d.restart(func(o *drop.Options) { o.Published = func(context.Context) { ctx.counting = true } })
		for range 2 {
			_, _, _ = d.drop.Scan(ctx)
			d.now = d.now.Add(time.Hour)
		}
		stopped = inner.Err() != nil
		cancel()
		d.restart()
		d.scan(0)
		d.scan(time.Hour)
		if d.has("bundle") || !d.has("done/bundle/app/a/index.json") {
			t.Errorf("stopped at check %d: the directory is not in done/, want it there; the status is %+v", n, d.drop.Status())
		}
	}
	if n < 10 {
		t.Errorf("the process was stopped at only %d checks, want more", n-2)
	}
}

// killAtStep ends a process at its nth step. If meddle is set, it replaces a file before the next
// process starts. It returns false if the process has fewer than n steps.
func (c moveCase) killAtStep(t *testing.T, n int, meddle bool) bool {
	t.Helper()
	d := newDropping(t)
	change := func(o *drop.Options) { o.Remove = c.remove }
	c.prepare(t, d.dir)
	before := importertest.Contents(t, d.dir)
	died := importertest.EndsAt(n, importertest.Leaves, func(before func(op, path string) error) {
		d.restart(change)
		i := importertest.New(t, d.store)
		i.Before(before)
		drop, err := i.NewDrop(drop.Options{Dir: d.dir, Settle: time.Second, Now: func() time.Time { return d.now }, Remove: c.remove})
		if err != nil {
			t.Error(err)
			return
		}
		for range 2 {
			if _, _, err := drop.Scan(context.Background()); err != nil {
				t.Error(err)
			}
			d.now = d.now.Add(time.Hour)
		}
	})
	late := ""
	if meddle {
		if late = importertest.Meddle(t, d.dir, before); late == "" {
			return died // no file remains that could be replaced
		}
	}
	for range 2 { // restart twice: the second process must have nothing left to do
		d.restart(change)
		d.scan(0)
		d.scan(time.Hour)
	}
	after := importertest.Contents(t, d.dir)
	where := fmt.Sprintf("killed at step %d, replaced the file %q", n, late)
	// The new file may have been moved to failed/ with the bundle.
	if meddle && after[late] != "came later" && after["/failed"+late] != "came later" {
		t.Errorf("%s: the new file is in neither the drop directory nor failed/; the files are %v", where, slices.Sorted(maps.Keys(after)))
	}
	for name, data := range before {
		c.checkPlace(t, where, name, data, late, after)
	}
	for _, s := range d.drop.Status() {
		if s.State == "waiting" && !meddle && !strings.Contains(c.name, "document") {
			t.Errorf("%s: %s still waits: %s", where, s.Name, s.Detail)
		}
	}
	if left := slices.DeleteFunc(importertest.Unfinished(t, d.store), func(name string) bool { return name == "/dropped.json" }); len(left) > 0 {
		t.Errorf("%s: unfinished files in the store: got %v, want none", where, left)
	}
	return died
}

// checkPlace fails unless a file is where the case expects it: in the drop directory, in done/, or removed.
func (c moveCase) checkPlace(t *testing.T, where, name, data, late string, after map[string]string) {
	t.Helper()
	_, stays := after[name]
	moved := after["/done"+name] == data
	switch {
	case name == late:
	case late != "" && (stays || after["/failed"+name] == data): // with the new file, the bundle may stay or be refused
	case strings.HasSuffix(name, "README"):
		if after[name] != data {
			t.Errorf("%s: the document %s is missing or changed, want it unchanged in the drop directory", where, name)
		}
	case stays, c.remove == moved:
		t.Errorf("%s: %s is still in the drop directory: %v, want false; it is in done/: %v, want %v", where, name, stays, moved, !c.remove)
	}
}
