package drop_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/importer/drop"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// If a process is killed while it moves an imported bundle to done/, the remaining files do not
// count as a new bundle. Otherwise, a remaining catalog would override the pin of a package, and
// remaining chunks would wait forever.
func TestDropCompletesInterruptedMove(t *testing.T) {
	for _, remove := range []bool{false, true} {
		for _, form := range []string{"archives", "chunks", "a tree"} {
			for nth := 1; nth <= 4; nth++ {
				t.Run(fmt.Sprintf("%s, remove imported bundles %v, killed at change %d", form, remove, nth), func(t *testing.T) {
					d := newDropping(t)
					d.restart(func(o *drop.Options) { o.Remove = remove })
					dir := filepath.Join(d.dir, "bundle")
					a := filepath.Join(dir, "package-a.tar")
					if form == "chunks" {
						a = filepath.Join(d.dir, "package-a.tar")
					}
					importertest.ArchiveOf(t, a, "packages/a/version:stable=pinned", "packages/a:v1=a")
					switch form {
					case "chunks":
						layouttest.Cut(t, a, 2000)
					case "archives":
						importertest.ArchiveOf(t, filepath.Join(dir, "package-versions.tar"), "packages/a/version:stable=newest")
						d.write("bundle/notes.txt", "not read") // with an unread file, the other files are moved one by one
					default:
						tree := layouttest.New(t, dir)
						l := tree.Layout("modules/x")
						l.Tag(l.Image(layouttest.Image{Name: "x", LayerSizes: []int64{100, 200}}), "v1")
						l.Write()
						d.write("bundle/notes.txt", "not read")
					}
					d.killAt(nth, remove)
					want := importertest.MustContent(t, d.store)
					for range 2 {
						d.restart(func(o *drop.Options) { o.Remove = remove })
						d.scan(0)
						d.scan(time.Minute)
						d.scan(time.Minute)
					}
					importertest.Same(t, "the store", importertest.MustContent(t, d.store), want)
					for name := range importertest.Contents(t, d.dir) {
						if !strings.HasPrefix(name, "/done/") && name != "/bundle/notes.txt" {
							t.Errorf("%s is still in the drop directory, want it moved or removed", name)
						}
					}
				})
			}
		}
	}
}

// Until the move of a bundle can be completed, its remaining files are not imported. Other bundles
// are imported as usual.
func TestDropRetriesFailedMove(t *testing.T) {
	d := newDropping(t)
	archive := importertest.ArchiveOf(t, filepath.Join(d.dir, "package-a.tar"), "packages/a:v1=a")
	layouttest.Cut(t, archive, 2000)
	d.killAt(2, true)
	want := importertest.MustContent(t, d.store)
	want = want.Over(importertest.MustContent(t, importertest.ArchiveOf(t, filepath.Join(d.dir, "b.tar"), "app:v1=b")))
	fails := true
	d.restart(func(o *drop.Options) {
		o.Remove = true
		d.importer.Before(func(op, path string) error {
			if fails && op == "rename dropped" && strings.HasPrefix(path, "package-a.tar") {
				return errors.New("not now")
			}
			return nil
		})
	})
	d.scan(0)
	d.scan(time.Minute)
	importertest.Same(t, "the store", importertest.MustContent(t, d.store), want)
	if s := d.wantStatus("package-a.tar", "waiting", "not now"); s.Detail == "" {
		t.Error("no reason")
	}
	fails = false
	d.scan(time.Minute)
	if left := importertest.Contents(t, d.dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	importertest.Same(t, "the store", importertest.MustContent(t, d.store), want)
}

// If a process is killed while it moves the chunks of a refused archive to failed/, the next process moves
// the remaining chunks. It does not move a chunk that has changed, and removes no chunk.
func TestDropCompletesMoveOfRefusedChunks(t *testing.T) {
	archive, places := importertest.One(t)
	importertest.Flip(t, archive, importertest.Largest(places).Body+4000)
	for _, remove := range []bool{false, true} {
		for n := 1; refusedAndKilled(t, archive, remove, n, false); n++ {
			refusedAndKilled(t, archive, remove, n, true)
		}
	}
}

// refusedAndKilled ends a process at its nth step. If meddle is set, it replaces the last chunk
// before the next process starts. It returns false if the process has fewer than n steps.
func refusedAndKilled(t *testing.T, archive string, remove bool, n int, meddle bool) bool {
	t.Helper()
	d := newDropping(t)
	d.put(archive, "module-one.tar")
	layouttest.Cut(t, filepath.Join(d.dir, "module-one.tar"), 4000)
	before := importertest.Contents(t, d.dir)
	change := func(o *drop.Options) { o.Remove = remove }
	died := importertest.EndsAt(n, importertest.Leaves, func(hook func(op, path string) error) {
		i := importertest.New(t, d.store)
		i.Before(hook)
		d.restartWith(i, change)
		d.scan(time.Minute)
		d.scan(time.Minute)
	})
	names := slices.Sorted(maps.Keys(before))
	last := names[len(names)-1]
	if meddle {
		file := filepath.Join(d.dir, last)
		if _, err := os.Lstat(file); err != nil {
			return died // the last chunk was already moved
		}
		importertest.Must(t, os.WriteFile(file+".new", []byte("came later"), 0o644))
		importertest.Must(t, os.Rename(file+".new", file))
	}
	for range 2 {
		d.restart(change)
		d.scan(time.Minute)
		d.scan(time.Minute)
	}
	after := importertest.Contents(t, d.dir)
	where := fmt.Sprintf("remove imported bundles %v, killed at step %d, replaced the last chunk %v, files are %v", remove, n, meddle, slices.Sorted(maps.Keys(after)))
	together := false
	for _, dir := range []string{"/failed", "/failed/2"} { // the chunks go to failed/2 if failed/ already has a reason file
		_, reason := after[dir+"/module-one.tar.reason.json"]
		all := reason
		for _, name := range names[:len(names)-1] {
			all = all && after[dir+name] == before[name]
		}
		together = together || all && (meddle || after[dir+last] == before[last])
	}
	switch later := after[last] == "came later"; {
	case meddle && !later && after["/failed"+last] != "came later" && after["/failed/2"+last] != "came later":
		t.Errorf("%s: the new chunk is gone, want it kept", where)
	case !together && !(meddle && later && after[names[0]] != ""): // with a new last chunk, all chunks may wait as a new archive
		t.Errorf("%s: the reason file and the unchanged chunks are not all in failed/ or all in failed/2, want them together", where)
	}
	for _, name := range names {
		if _, stays := after[name]; stays && !meddle {
			t.Errorf("%s: the chunk %s is still in the drop directory, want it in failed/ or failed/2", where, name)
		}
	}
	return died
}

// Somebody adds files to a directory just before it is moved to done/, and then the process is
// killed. No import has read these files. The next process moves them back to the drop directory,
// where they wait or are imported.
func TestDropMovesLateFilesBack(t *testing.T) {
	for _, remove := range []bool{false, true} { // setting of the next process, which may differ from that of the killed process
		for nth := 1; nth <= 4; nth++ {
			t.Run(fmt.Sprintf("remove imported bundles %v, killed at change %d", remove, nth), func(t *testing.T) {
				testMovesBack(t, nth, remove)
			})
		}
	}
}

func testMovesBack(t *testing.T, nth int, remove bool) {
	d := newDropping(t)
	dir := filepath.Join(d.dir, "bundle")
	importertest.ArchiveOf(t, filepath.Join(dir, "a.tar"), "app/a:v1=a")
	late := map[string]string{
		"/bundle/b.tar":      importertest.ArchiveOf(t, filepath.Join(importertest.Scratch(t), "b.tar"), "app/b:v1=b"),
		"/bundle/c/d.tar":    importertest.ArchiveOf(t, filepath.Join(importertest.Scratch(t), "d.tar"), "app/d:v1=d"),
		"/bundle/notes.html": "",
	}
	step := 0
	importertest.EndsAt(1, func(op, path string) bool {
		if !strings.HasSuffix(op, " dropped") {
			return false
		}
		if step++; step == 1 { // just before the directory is moved
			for name, from := range late {
				data, _ := os.ReadFile(from)
				importertest.Must(t, os.MkdirAll(filepath.Dir(filepath.Join(d.dir, name)), 0o755))
				importertest.Must(t, os.WriteFile(filepath.Join(d.dir, name), data, 0o644))
			}
		}
		return step == nth
	}, func(hook func(op, path string) error) {
		i := importertest.New(t, d.store)
		i.Before(hook)
		d.restartWith(i)
		d.scan(time.Minute)
		d.scan(time.Minute)
	})
	if step < nth {
		t.Fatalf("%d steps", step)
	}
	d.restart(func(o *drop.Options) { o.Remove = remove })
	d.scan(0)
	after := importertest.Contents(t, d.dir)
	for name := range late {
		if _, ok := after[name]; !ok {
			t.Errorf("%s is not in the drop directory, want it moved back; the files are %v", name, slices.Sorted(maps.Keys(after)))
		}
	}
	if _, ok := after["/bundle/a.tar"]; ok {
		t.Error("the imported archive was moved back to the drop directory, want it to stay in done/")
	}
	importertest.Must(t, os.Rename(filepath.Join(dir, "c/d.tar"), filepath.Join(dir, "d.tar"))) // the status advises moving the archive up
	for range 4 {
		d.scan(time.Minute)
	}
	got := importertest.MustContent(t, d.store)
	for _, tag := range []string{"app/a:v1", "app/b:v1", "app/d:v1"} {
		if got[tag] == "" {
			t.Errorf("the store has the tags %v, want also %s", got, tag)
		}
	}
}

// A file that was moved to done/ without being read is not moved back if a new file has taken its
// name. Both files stay where they are.
func TestDropMovesBackWithoutOverwriting(t *testing.T) {
	d := newDropping(t)
	importertest.ArchiveOf(t, filepath.Join(d.dir, "bundle/a.tar"), "app/a:v1=a")
	step := 0
	importertest.EndsAt(1, func(op, _ string) bool {
		if strings.HasSuffix(op, " dropped") {
			if step++; step == 1 {
				d.write("bundle/notes.txt", "late")
			}
		}
		return step == 2
	}, func(hook func(op, path string) error) {
		i := importertest.New(t, d.store)
		i.Before(hook)
		d.restartWith(i)
		d.scan(time.Minute)
		d.scan(time.Minute)
	})
	importertest.Must(t, os.MkdirAll(filepath.Join(d.dir, "bundle"), 0o755))
	d.write("bundle/notes.txt", "later")
	d.restart()
	d.scan(0)
	d.scan(time.Minute)
	after := importertest.Contents(t, d.dir)
	if after["/bundle/notes.txt"] != "later" || after["/done/bundle/notes.txt"] != "late" {
		t.Errorf("%v", slices.Sorted(maps.Keys(after)))
	}
	d.wantStatus("bundle", "waiting", "notes.txt was added while its bundle was moved")
	importertest.Must(t, os.Remove(filepath.Join(d.dir, "bundle/notes.txt")))
	d.scan(time.Minute)
	if after := importertest.Contents(t, d.dir); after["/bundle/notes.txt"] != "late" {
		t.Errorf("%v", slices.Sorted(maps.Keys(after)))
	}
}

// killAt scans the drop directory. The scan ends like a killed process after it has changed files in that
// directory nth times, right before the next change.
func (d *dropping) killAt(nth int, remove bool) {
	d.t.Helper()
	i := importertest.New(d.t, d.store)
	i.Before(func(op, path string) error {
		if strings.HasSuffix(op, " dropped") {
			if nth--; nth < 0 {
				runtime.Goexit()
			}
		}
		return nil
	})
	drop, err := i.NewDrop(drop.Options{Dir: d.dir, Settle: time.Second, Remove: remove, Now: func() time.Time { return d.now }})
	if err != nil {
		d.t.Fatal(err)
	}
	ended := make(chan bool)
	go func() {
		defer close(ended)
		for range 3 {
			if _, _, err := drop.Scan(d.t.Context()); err != nil {
				d.t.Error(err)
			}
			d.now = d.now.Add(time.Minute)
		}
	}()
	<-ended
}

// A move is completed from its record, even if an older version wrote the record. File names may
// contain quotes, and need not be UTF-8.
func TestDropReadsRecordsOfOtherForms(t *testing.T) {
	for name, form := range map[string]struct {
		archive string
		record  func([]byte) []byte
	}{
		"record of an older version": {`package-"\a.tar`, func(data []byte) []byte {
			data = bytes.ReplaceAll(data, []byte(`"moved":`), []byte(`"files":`))
			return bytes.ReplaceAll(data, []byte(`"name":"package-\\\"\\\\a`), []byte(`"name":"package-\"\\a`))
		}},
		"no UTF-8":     {"package-\xff.tar", bytes.Clone},
		"quoted names": {`package-"\a.tar`, bytes.Clone},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDropping(t)
			layouttest.Cut(t, importertest.ArchiveOf(t, filepath.Join(d.dir, form.archive), "packages/a:v1=a"), 2000)
			d.killAt(2, true)
			file := filepath.Join(d.store, ".layoutproxy", "dropped.json")
			data, err := os.ReadFile(file)
			importertest.Must(t, err)
			if !bytes.Contains(data, []byte(`"leaving"`)) {
				t.Fatalf("content of dropped.json: got %s, want the record of a move", data)
			}
			importertest.Must(t, os.WriteFile(file, form.record(data), 0o644))
			d.restart(func(o *drop.Options) { o.Remove = true })
			d.scan(0)
			d.scan(time.Minute)
			if left := importertest.Contents(t, d.dir); len(left) > 0 {
				t.Errorf("left: %q\n%s", slices.Sorted(maps.Keys(left)), form.record(data))
			}
		})
	}
}
