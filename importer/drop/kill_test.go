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

// departing is a directory from which files of a bundle are removed.
type departing struct {
	name    string
	remove  bool
	prepare func(t *testing.T, dir string)
}

func departures() []departing {
	tree := func(t *testing.T, dir string) {
		importertest.Must(t, os.MkdirAll(filepath.Join(dir, "bundle"), 0o755))
		importertest.Must(t, os.CopyFS(filepath.Join(dir, "bundle"), os.DirFS(importertest.AppTree(t, "a", "1.0").Dir())))
		importertest.Must(t, os.Symlink("app/a/index.json", filepath.Join(dir, "bundle", "link")))
	}
	document := func(t *testing.T, dir string) {
		tree(t, dir)
		importertest.Must(t, os.WriteFile(filepath.Join(dir, "bundle", "app", "README"), []byte("read me"), 0o644))
	}
	return []departing{
		{"chunks to done", false, importertest.Chunks},
		{"chunks removed", true, importertest.Chunks},
		{"a directory to done", false, tree},
		{"a directory removed", true, tree},
		{"a directory with a document to done", false, document},
		{"a directory with a document removed", true, document},
	}
}

// If a process is killed while it moves the files of a bundle out of the drop directory, the
// next one completes the move, and no file waits forever. Files that arrive meanwhile are not
// moved, and nothing is lost.
func TestKilledWhileFilesLeave(t *testing.T) {
	for _, c := range departures() {
		t.Run(c.name, func(t *testing.T) {
			if strings.Contains(c.name, "document removed") && os.Getenv("LAYOUTPROXY_TEST_ALL") == "" {
				t.Skip("LAYOUTPROXY_TEST_ALL=1 tries it: a directory that is removed is tried anyway")
			}
			n := 1
			for ; c.killed(t, n, false); n++ {
				if n%4 == 2 || os.Getenv("LAYOUTPROXY_TEST_ALL") != "" {
					c.killed(t, n, true)
				}
			}
			if n < 2 {
				t.Error("no step was tried")
			}
		})
	}
}

// killed ends a process at its nth step and, with meddle, replaces a file before the
// next process starts. It returns false if there are fewer steps.
func (c departing) killed(t *testing.T, n int, meddle bool) bool {
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
			return died // all files have left
		}
	}
	for range 2 { // the next scan finds nothing to do
		d.restart(change)
		d.look(0)
		d.look(time.Hour)
	}
	after := importertest.Contents(t, d.dir)
	where := fmt.Sprintf("step %d, meddled with %q", n, late)
	if meddle && after[late] != "came later" && after["/failed"+late] != "came later" { // it may have been moved with the bundle that now contains it
		t.Errorf("%s: the new file went: %v", where, slices.Sorted(maps.Keys(after)))
	}
	for name, data := range before {
		c.left(t, where, name, data, late, after)
	}
	for _, s := range d.drop.Status() {
		if s.State == "waiting" && !meddle && !strings.Contains(c.name, "document") {
			t.Errorf("%s: %s waits: %s", where, s.Name, s.Detail)
		}
	}
	if left := slices.DeleteFunc(importertest.Unfinished(t, d.store), func(name string) bool { return name == "/dropped.json" }); len(left) > 0 {
		t.Errorf("%s: the store has %v", where, left)
	}
	return died
}

// left fails unless a file is where it belongs in the end.
func (c departing) left(t *testing.T, where, name, data, late string, after map[string]string) {
	t.Helper()
	_, stays := after[name]
	moved := after["/done"+name] == data
	switch {
	case name == late: // it was replaced
	case late != "" && (stays || after["/failed"+name] == data): // the bundle that contains the new file
	case strings.HasSuffix(name, "README"):
		if after[name] != data {
			t.Errorf("%s: %s went", where, name)
		}
	case stays, c.remove == moved:
		t.Errorf("%s: %s: stays: %v, moved: %v", where, name, stays, moved)
	}
}
