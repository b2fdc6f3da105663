package importer_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/importer/drop"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// ends does something that calls before at each step, and ends at the nth step that
// counts as a process does that is killed: nothing is done afterwards. It returns false
// where there are fewer steps.
func ends(n int, counts func(op, path string) bool, do func(before func(op, path string) error)) bool {
	dead, ended := false, make(chan bool)
	go func() {
		finished := false
		defer func() { ended <- !finished }()
		do(func(op, path string) error {
			if dead {
				return errDead
			}
			if counts(op, path) {
				if n--; n == 0 {
					dead = true
					runtime.Goexit()
				}
			}
			return nil
		})
		finished = true
	}()
	return <-ended
}

// leaves are the steps in which files of a bundle leave a directory.
func leaves(op, path string) bool {
	return strings.HasSuffix(op, " dropped") || strings.HasPrefix(path, ".layoutproxy/dropped.json") || op == "remove packed" || op == "chmod" || strings.Contains(path, "/outgoing")
}

// departing is a directory that files of a bundle leave.
type departing struct {
	name    string
	remove  bool
	prepare func(t *testing.T, dir string)
}

func departures() []departing {
	chunks := func(t *testing.T, dir string) {
		archive := app(t, "a", "1.0")
		for _, chunk := range layouttest.Split(t, archive, 3000) {
			data, err := os.ReadFile(chunk)
			must(t, err)
			must(t, os.WriteFile(filepath.Join(dir, filepath.Base(chunk)), data, 0o664))
			must(t, os.Chmod(filepath.Join(dir, filepath.Base(chunk)), 0o664)) // which is not that of a store
			must(t, os.WriteFile(filepath.Join(dir, filepath.Base(chunk)+".gostsum"), []byte(strings.Repeat("0", 64)), 0o644))
		}
	}
	tree := func(t *testing.T, dir string) {
		must(t, os.MkdirAll(filepath.Join(dir, "bundle"), 0o755))
		must(t, os.CopyFS(filepath.Join(dir, "bundle"), os.DirFS(appTree(t, "a", "1.0").Dir())))
		must(t, os.Symlink("app/a/index.json", filepath.Join(dir, "bundle", "link")))
	}
	document := func(t *testing.T, dir string) {
		tree(t, dir)
		must(t, os.WriteFile(filepath.Join(dir, "bundle", "app", "README"), []byte("read me"), 0o644))
	}
	return []departing{
		{"chunks to done", false, chunks},
		{"chunks removed", true, chunks},
		{"a directory to done", false, tree},
		{"a directory removed", true, tree},
		{"a directory with a document to done", false, document},
		{"a directory with a document removed", true, document},
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Whenever a process is killed while files of a bundle leave the drop directory, the next
// one does the rest, and nothing is left that would wait for ever. Nothing goes that came
// in the meantime, and nothing is lost.
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

// killed ends a process at its nth step, and with meddle replaces a file before the next
// one. It returns false where there are fewer steps.
func (c departing) killed(t *testing.T, n int, meddle bool) bool {
	t.Helper()
	d := newDropping(t)
	change := func(o *drop.Options) { o.Remove = c.remove }
	c.prepare(t, d.dir)
	before := contents(t, d.dir)
	died := ends(n, leaves, func(before func(op, path string) error) {
		d.restart(change)
		i := newImporter(t, d.store)
		i.Before(before)
		drop, err := i.NewDrop(drop.Options{Dir: d.dir, Settle: time.Second, Now: func() time.Time { return d.now }, Remove: c.remove})
		if err != nil {
			t.Error(err)
			return
		}
		for range 2 {
			if _, _, err := drop.Look(context.Background()); err != nil {
				t.Error(err)
			}
			d.now = d.now.Add(time.Hour)
		}
	})
	late := ""
	if meddle {
		if late = c.meddle(t, d.dir, before); late == "" {
			return died // all have left
		}
	}
	for range 2 { // what follows finds nothing more to do
		d.restart(change)
		d.look(0)
		d.look(time.Hour)
	}
	after := contents(t, d.dir)
	where := fmt.Sprintf("step %d, meddled with %q", n, late)
	if meddle && after[late] != "came later" && after["/failed"+late] != "came later" { // with all of the bundle that it is in now
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
	if left := slices.DeleteFunc(stands(t, d.store), func(name string) bool { return name == "/dropped.json" }); len(left) > 0 {
		t.Errorf("%s: the store has %v", where, left)
	}
	return died
}

// meddle replaces the first file of the bundle that is there still.
func (c departing) meddle(t *testing.T, dir string, before map[string]string) (name string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(before)) {
		file := filepath.Join(dir, name)
		if _, err := os.Lstat(file); err != nil || strings.HasSuffix(name, "README") {
			continue
		}
		must(t, os.WriteFile(file+".new", []byte("came later"), 0o644))
		must(t, os.Rename(file+".new", file))
		return name
	}
	return ""
}

// left fails unless a file is where it has to be in the end.
func (c departing) left(t *testing.T, where, name, data, late string, after map[string]string) {
	t.Helper()
	_, stays := after[name]
	moved := after["/done"+name] == data
	switch {
	case name == late: // it was replaced
	case late != "" && (stays || after["/failed"+name] == data): // of the bundle that the new file is in
	case strings.HasSuffix(name, "README"):
		if after[name] != data {
			t.Errorf("%s: %s went", where, name)
		}
	case stays, c.remove == moved:
		t.Errorf("%s: %s: stays: %v, moved: %v", where, name, stays, moved)
	}
}

// Whenever a process is killed while archives are moved into the store, the next import
// or the next start of a server does the rest, if they were published. Nothing goes that
// came in the meantime.
func TestKilledWhileArchivesMove(t *testing.T) {
	c := departures()[0]
	for n := 1; ; n++ {
		if !killedPacking(t, c, n, false) {
			if n < 9 {
				t.Errorf("%d steps prove little", n)
			}
			break
		}
		killedPacking(t, c, n, true)
	}
}

func killedPacking(t *testing.T, c departing, n int, meddle bool) bool {
	t.Helper()
	dir, store := scratch(t), filepath.Join(scratch(t), "store")
	c.prepare(t, dir)
	before, want := contents(t, dir), mustContent(t, dir)
	died := ends(n, leaves, func(hook func(op, path string) error) {
		i := packing(t, store)
		i.Before(hook)
		if _, err := i.Import(context.Background(), dir); err != nil {
			t.Error(err)
		}
	})
	late := ""
	if meddle {
		if late = c.meddle(t, dir, before); strings.HasSuffix(late, ".gostsum") {
			return died // all have left
		}
	}
	other := app(t, "b", "1.0")
	if n%2 == 0 {
		must(t, newImporter(t, store).Recover(t.Context()))
	} else {
		imported(t, store, other)
	}
	got := mustContent(t, store)
	published := maps.Equal(got, want) || maps.Equal(got, want.over(mustContent(t, other)))
	if !published && !meddle {
		kept(t, store, dir)
	}
	after := contents(t, dir)
	if meddle && after[late] != "came later" {
		t.Errorf("step %d: the new file went: %v", n, after)
	}
	for name := range before {
		if _, stays := after[name]; stays && name != late && !strings.HasSuffix(name, ".gostsum") && (published || !meddle) {
			t.Errorf("step %d, meddled with %q, published %v: %s stays", n, late, published, name)
		}
	}
	if left := stands(t, store); len(left) > 0 {
		t.Errorf("step %d: the store has %v", n, left)
	}
	own, err := os.Stat(filepath.Join(store, ".layoutproxy/store.json"))
	must(t, err)
	for name := range before {
		info, err := os.Stat(filepath.Join(store, name))
		if err == nil && name != late && info.Mode() != own.Mode() {
			t.Errorf("step %d: %s is %v in the store", n, name, info.Mode())
		}
	}
	return died
}

// What a store remembers of bundles that stayed is forgotten when they are gone.
func TestDropForgetsWhatIsGone(t *testing.T) {
	d := newDropping(t)
	d.put(app(t, "a", "1.0"), "a.tar")
	must(t, os.WriteFile(filepath.Join(d.dir, "done"), nil, 0o644)) // in the place of the directory
	d.look(time.Hour)
	record := filepath.Join(d.store, ".layoutproxy/dropped.json")
	if data, err := os.ReadFile(record); err != nil || !strings.Contains(string(data), "a.tar") {
		t.Fatalf("%s, %v", data, err)
	}
	must(t, os.Remove(filepath.Join(d.dir, "a.tar")))
	d.restart()
	d.look(time.Hour)
	if data, err := os.ReadFile(record); err != nil && !errors.Is(err, fs.ErrNotExist) || strings.Contains(string(data), "a.tar") {
		t.Errorf("%s, %v", data, err)
	}
}
