package publish_test

import (
	"errors"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// unsynced follows the steps of a publication. It lists the files whose names have changed without a sync
// afterwards, so that a power cut could undo the change. It ignores staging, which matters only while there
// is a journal.
type unsynced struct {
	t       *testing.T
	dir     string
	changed map[string]bool // names whose change a power cut could undo, as paths below the store
}

func (u *unsynced) step(op, name string) {
	stagingPrefix := path.Dir(publish.StagedPath("."))
	switch op {
	case "syncfs":
		clear(u.changed)
		return
	case "fsync":
		maps.DeleteFunc(u.changed, func(file string, _ bool) bool { return path.Dir(file) == name })
		return
	case "chmod", "write":
		return
	case "remove", "rename":
		if name == journal.File || name == journal.StateFile {
			for file := range u.changed {
				if file != name {
					u.t.Errorf("%s of %s happens before the change of %s is synced to disk, want it after the sync", op, name, file)
				}
			}
		}
	}
	if at, back := strings.CutPrefix(name, publish.StagedPath(".")+"/"); back && op == "rename" {
		name = at // the file was moved from the tree to staging
	}
	if strings.HasPrefix(name, stagingPrefix) {
		return
	}
	if info, err := os.Stat(filepath.Join(u.dir, name)); op == "remove" && err == nil && info.IsDir() {
		maps.DeleteFunc(u.changed, func(file string, _ bool) bool { return path.Dir(file) == name })
	}
	u.changed[name] = true
}

// Before a journal or state file is replaced or removed, all earlier changes are synced to disk. Otherwise, a
// power cut could leave half of a publication without a journal. The same holds after a step fails, and in
// the next process.
func TestJournalOutlivesUnsyncedChanges(t *testing.T) {
	for name, publication := range map[string]func(dir string, before func(op, path string) error) error{
		"publish": func(dir string, before func(op, path string) error) error {
			return publishAll(t.Context(), dir, before)
		},
		"prune": func(dir string, before func(op, path string) error) error {
			s, err := publish.Open(t.Context(), publish.Options{Dir: dir, Before: before})
			if err != nil {
				return err
			}
			defer s.Close()
			state := journal.State{Format: journal.Format, Generation: 1}
			return s.Prune(t.Context(), &journal.Journal{Generation: 1, Indexes: []journal.IndexChange{{Path: "a", Old: []byte("old"), New: []byte("new")}},
				Prune: &journal.Prune{State: state, Removed: []string{"a/blobs/sha256/1"}}})
		},
	} {
		for n, done := 1, false; !done; n++ {
			dir, count := newStore(t), 0
			u := unsynced{t, dir, map[string]bool{}}
			err := publication(dir, func(op, name string) error {
				if count++; count == n {
					return errors.New("it fails")
				}
				u.step(op, name)
				return nil
			})
			if done = count < n; done && err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			clear(u.changed) // the next process first syncs everything (see TestRecoverySyncsRenames)
			s, err := publish.Open(t.Context(), publish.Options{Dir: dir, Before: func(op, name string) error { u.step(op, name); return nil }})
			layouttest.Try(t, err)
			s.Close()
			if t.Failed() {
				t.Fatalf("%s: the errors above occurred when step %d failed, want none", name, n)
			}
		}
	}
}

// A publication fails, and undoing it fails or is killed at any step. The next process then completes or
// undoes the publication, and no index ever names a missing blob.
func TestUndoOfPublicationFails(t *testing.T) {
	first, last := 0, 0 // numbers of the steps between the journal and the first index
	step := 0
	layouttest.Try(t, publishAll(t.Context(), newStore(t), func(op, name string) error {
		switch step++; {
		case op == "rename" && name == journal.File:
			first = step + 1
		case op == "rename" && name == "a/index.json":
			last = step - 1
		}
		return nil
	}))
	if last-first < 5 {
		t.Fatalf("the steps between the journal and the first index are %d to %d, want at least 6 steps", first, last)
	}
	undone := 0
	for n := first; n <= last; n++ {
		for m, more := n+1, true; more; m++ {
			dir, count := newStore(t), 0
			old := files(t, dir)
			err := publishAll(t.Context(), dir, func(string, string) error {
				if count++; count == n || count >= m {
					return errors.New("it fails")
				}
				return nil
			})
			more = errors.As(err, new(*publish.UnfinishedError))
			s, err := publish.Open(t.Context(), publish.Options{Dir: dir})
			layouttest.Try(t, err)
			want := old
			if s.State().Generation == 1 {
				want = published()
			}
			layouttest.Try(t, s.Clear())
			s.Close()
			if diff := cmp.Diff(want, files(t, dir)); diff != "" {
				t.Errorf("steps %d and %d fail: wrong files after the next start (-want +got):\n%s", n, m, diff)
			}
			if more {
				undone++
			}
		}
	}
	if undone < 10 {
		t.Errorf("the test made the undoing of a publication fail only %d times, want at least 10", undone)
	}
}
