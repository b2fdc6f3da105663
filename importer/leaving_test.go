package importer_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// A process that is killed while it takes an imported bundle out of the drop directory
// leaves a part of it. That part is not a bundle of its own: the catalog of packages would
// undo the pin of a package, and chunks would be waited for without an end.
func TestDropEndsWhatWasBegun(t *testing.T) {
	for _, remove := range []bool{false, true} {
		for _, form := range []string{"archives", "chunks", "a tree"} {
			for nth := 1; nth <= 4; nth++ {
				t.Run(fmt.Sprintf("%s, remove %v, killed at change %d", form, remove, nth), func(t *testing.T) {
					d := newDropping(t)
					d.restart(func(o *importer.DropOptions) { o.Remove = remove })
					dir := filepath.Join(d.dir, "bundle")
					a := filepath.Join(dir, "package-a.tar")
					if form == "chunks" {
						a = filepath.Join(d.dir, "package-a.tar")
					}
					archiveOf(t, a, "packages/a/version:stable=pinned", "packages/a:v1=a")
					switch form {
					case "chunks":
						layouttest.Cut(t, a, 2000)
					case "archives":
						archiveOf(t, filepath.Join(dir, "package-versions.tar"), "packages/a/version:stable=newest")
						d.write("bundle/notes.txt", "not read") // so that it does not go as one
					default:
						tree := layouttest.New(t, dir)
						l := tree.Layout("modules/x")
						l.Tag(l.Image(layouttest.Image{Name: "x", LayerSizes: []int64{100, 200}}), "v1")
						l.Write()
						d.write("bundle/notes.txt", "not read")
					}
					d.killAt(nth, remove)
					want := mustContent(t, d.store)
					for range 2 {
						d.restart(func(o *importer.DropOptions) { o.Remove = remove })
						d.look(0)
						d.look(time.Minute)
						d.look(time.Minute)
					}
					same(t, "the store", mustContent(t, d.store), want)
					for name := range contents(t, d.dir) {
						if !strings.HasPrefix(name, "/done/") && name != "/bundle/notes.txt" {
							t.Errorf("%s is left", name)
						}
					}
				})
			}
		}
	}
}

// Where that cannot be ended, what is left is not imported, and other bundles are.
func TestDropEndsLater(t *testing.T) {
	d := newDropping(t)
	archive := archiveOf(t, filepath.Join(d.dir, "package-a.tar"), "packages/a:v1=a")
	layouttest.Cut(t, archive, 2000)
	d.killAt(2, true)
	want := mustContent(t, d.store)
	want = want.over(mustContent(t, archiveOf(t, filepath.Join(d.dir, "b.tar"), "app:v1=b")))
	fails := true
	d.restart(func(o *importer.DropOptions) {
		o.Remove = true
		d.importer.Before(func(op, path string) error {
			if fails && op == "rename dropped" && strings.HasPrefix(path, "package-a.tar") {
				return errors.New("not now")
			}
			return nil
		})
	})
	d.look(0)
	d.look(time.Minute)
	same(t, "the store", mustContent(t, d.store), want)
	if s := d.wants("package-a.tar", "waiting", "not now"); s.Detail == "" {
		t.Error("no reason")
	}
	fails = false
	d.look(time.Minute)
	if left := contents(t, d.dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	same(t, "the store", mustContent(t, d.store), want)
}

// killAt imports what was dropped, and ends as a killed process does at the nth change of
// the drop directory.
func (d *dropping) killAt(nth int, remove bool) {
	d.t.Helper()
	i := newImporter(d.t, d.store)
	i.Before(func(op, path string) error {
		if strings.HasSuffix(op, " dropped") {
			if nth--; nth < 0 {
				runtime.Goexit()
			}
		}
		return nil
	})
	drop, err := i.NewDrop(importer.DropOptions{Dir: d.dir, Settle: time.Second, Remove: remove, Now: func() time.Time { return d.now }})
	if err != nil {
		d.t.Fatal(err)
	}
	ended := make(chan bool)
	go func() {
		defer close(ended)
		for range 3 {
			if _, _, err := drop.Look(d.t.Context()); err != nil {
				d.t.Error(err)
			}
			d.now = d.now.Add(time.Minute)
		}
	}()
	<-ended
}
