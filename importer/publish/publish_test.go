package publish_test

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// newStore makes a store with one layout, and returns its directory.
func newStore(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "layoutproxy") // in memory, where syncs are fast
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s, err := publish.Open(t.Context(), publish.Options{Dir: dir})
	layouttest.Try(t, err)
	s.Close()
	layouttest.Try(t, os.MkdirAll(filepath.Join(dir, "a/blobs/sha256"), 0o755))
	for name, text := range map[string]string{"a/index.json": "old", "a/oci-layout": "{}", "a/blobs/sha256/1": "one"} {
		layouttest.Try(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return dir
}

// published returns the files that the tree has after publishAll, with their content.
func published() map[string]string {
	return map[string]string{"a/index.json": "new", "a/oci-layout": "{}", "a/blobs/sha256/1": "one", "a/blobs/sha256/2": "two",
		"b/index.json": "b", "b/oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "b/blobs/sha256/2": "two", "c.tar": "archive"}
}

// publishAll publishes three changes: a new index for the layout of newStore, an additional layout,
// and an archive.
func publishAll(ctx context.Context, dir string, before func(op, path string) error) error {
	s, err := publish.Open(ctx, publish.Options{Dir: dir, Before: before})
	if err != nil {
		return err
	}
	defer s.Close()
	for name, text := range map[string]string{"a/blobs/sha256/2": "two", "b/blobs/sha256/2": "two", "c.tar": "archive"} {
		if err := stage(s, name, text); err != nil {
			return err
		}
	}
	return s.Publish(ctx, &journal.Journal{Generation: s.State().Generation + 1,
		Packed:  []journal.Packed{{File: "c.tar", Name: "c.tar", Generation: s.State().Generation + 1}},
		Indexes: []journal.IndexChange{{Path: "a", Old: []byte("old"), New: []byte("new")}, {Path: "b", New: []byte("b")}}})
}

func stage(s *publish.Store, name, text string) error {
	at := publish.StagedPath(name)
	if err := errors.Join(s.MkdirAll(path.Dir(at)), s.RemoveAll(at)); err != nil {
		return err
	}
	f, err := s.Create(at)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(text))
	return errors.Join(err, f.Close())
}

// files returns the content of all files in the tree, without those in .layoutproxy.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	layouttest.Try(t, fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if e.IsDir() || strings.HasPrefix(name, journal.Dir) {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		all[name] = string(data)
		return err
	}))
	return all
}

// seen returns the indexes and archives that a reader of a store sees, with their content. It uses
// package journal as a reader does.
func seen(t *testing.T, dir string) map[string]string {
	t.Helper()
	view, err := journal.ReadView(dir)
	layouttest.Try(t, err)
	all := files(t, dir)
	for name := range all {
		if old, changed := view.OldIndex(path.Dir(name)); changed && path.Base(name) == "index.json" {
			data, err := old.ReadAll(t.Context())
			layouttest.Try(t, err)
			if all[name] = string(data); len(data) == 0 {
				delete(all, name)
			}
		}
	}
	maps.DeleteFunc(all, func(name, _ string) bool {
		return view.Hides(name) || path.Base(name) != "index.json" && !strings.HasSuffix(name, ".tar")
	})
	return all
}

// If any step of a publication fails, or the process is killed at that step, readers see either the
// old or the new state. The next process completes or undoes the publication.
func TestFailureAtEveryStepOfPublication(t *testing.T) {
	for _, killed := range []bool{true, false} {
		done, steps := false, 0
		for n := 1; !done; n++ {
			dir := newStore(t)
			old := files(t, dir)
			failed := errors.New("it fails")
			count := 0
			err := publishAll(t.Context(), dir, func(op, name string) error {
				if count++; count == n || killed && count > n {
					return failed
				}
				return nil
			})
			if done, steps = count < n, count; done && err != nil {
				t.Fatal(err)
			}
			now := seen(t, dir)
			isNew := now["a/index.json"] == "new"
			want := map[string]string{"a/index.json": "old"}
			if isNew {
				want = map[string]string{"a/index.json": "new", "b/index.json": "b", "c.tar": "archive"}
			}
			if diff := cmp.Diff(want, now); diff != "" {
				t.Errorf("killed %v, step %d: a reader sees a mixture of the old and new state (-want +got):\n%s", killed, n, diff)
			}
			var unfinished *publish.UnfinishedError
			if errors.As(err, &unfinished) && unfinished.Published != isNew {
				t.Errorf("killed %v, step %d: readers see the new state: %v, want the error's field Published to say the same; the error is %v", killed, n, isNew, err)
			}
			s, err := publish.Open(t.Context(), publish.Options{Dir: dir})
			layouttest.Try(t, err)
			state := s.State()
			layouttest.Try(t, s.Clear())
			s.Close()
			if isNew && state.Generation != 1 {
				t.Errorf("killed %v, step %d: readers have seen the new state: got generation %d in the next process, want 1", killed, n, state.Generation)
			}
			want = old
			if state.Generation == 1 {
				want = published()
			}
			if diff := cmp.Diff(want, files(t, dir)); diff != "" {
				t.Errorf("killed %v, step %d: wrong files after the next start (-want +got):\n%s", killed, n, diff)
			}
			if j, err := journal.Read(dir); j != nil || err != nil {
				t.Errorf("killed %v, step %d: the journal still exists after the next start (error %v), want it removed", killed, n, err)
			}
		}
		if steps < 30 {
			t.Errorf("got %d steps of a publication, want at least 30", steps)
		}
	}
}

// A process that completes the publication of a killed process first syncs that process's renames. Otherwise,
// a power cut could undo them after the new state is written, and readers would miss blobs or see old
// indexes.
func TestRecoverySyncsRenames(t *testing.T) {
	for name, publication := range map[string]func(dir string, before func(op, path string) error) error{
		"publish": func(dir string, before func(op, path string) error) error {
			return publishAll(t.Context(), dir, before)
		},
		"prune": func(dir string, before func(op, path string) error) error {
			s, err := publish.Open(t.Context(), publish.Options{Dir: dir, Before: before})
			layouttest.Try(t, err)
			defer s.Close()
			return s.Prune(t.Context(), &journal.Journal{Generation: 1, Indexes: []journal.IndexChange{{Path: "a", Old: []byte("old"), New: []byte("new")}},
				Prune: &journal.Prune{State: journal.State{Format: journal.Format, Generation: 1}}})
		},
	} {
		dir, dead := newStore(t), false
		err := publication(dir, func(op, path string) error {
			if dead = dead || op == "fsync" && !strings.HasPrefix(path, journal.Dir); dead {
				return errors.New("killed")
			}
			return nil
		})
		if !dead || err == nil {
			t.Fatalf("%s: the process was killed: %v, want true; the error is %v, want one", name, dead, err)
		}
		var steps []string
		s, err := publish.Open(t.Context(), publish.Options{Dir: dir, Before: func(op, path string) error {
			steps = append(steps, op+" "+path)
			return nil
		}})
		layouttest.Try(t, err)
		synced, written := slices.Index(steps, "syncfs ."), slices.Index(steps, "rename "+journal.StateFile)
		if s.State().Generation != 1 || synced < 0 || written < synced {
			t.Errorf("%s: %q", name, steps)
		}
		s.Close()
	}
}

// Only one process can have the lock of a store. The function Waiting is called while Open waits, and its
// error ends the wait.
func TestStoreLock(t *testing.T) {
	dir := newStore(t)
	first, err := publish.Open(t.Context(), publish.Options{Dir: dir})
	layouttest.Try(t, err)
	if _, err := publish.Open(t.Context(), publish.Options{Dir: dir, Waiting: func() error { return publish.ErrLocked }}); !errors.Is(err, publish.ErrLocked) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := publish.Open(ctx, publish.Options{Dir: dir, Waiting: func() error { cancel(); return nil }}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	first.Close()
	second, err := publish.Open(t.Context(), publish.Options{Dir: dir, Waiting: func() error { return publish.ErrLocked }})
	layouttest.Try(t, err)
	second.Close()
}

// If any step of Write fails, the old note stays.
func TestNoteSurvivesFailedWrite(t *testing.T) {
	dir := newStore(t)
	step := ""
	n := publish.Note{Store: dir, Name: "note.json", Max: 10, Before: func(op, _ string) error {
		if op == step {
			return errors.New("it fails")
		}
		return nil
	}}
	if _, err := n.Read(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	layouttest.Try(t, n.Remove())
	layouttest.Try(t, n.Write([]byte("old")))
	for _, step = range []string{"create", "write", "fsync", "rename"} {
		if err := n.Write([]byte("new")); err == nil {
			t.Errorf("Write with a failing step %q returned no error, want one", step)
		}
		if data, err := n.Read(); err != nil || string(data) != "old" {
			t.Errorf("note after the step %q failed: got %q and error %v, want the old content", step, data, err)
		}
	}
	step = ""
	if err := n.Write(make([]byte, 11)); err == nil {
		t.Error("Write of a note that exceeds its limit returned no error, want one")
	}
	layouttest.Try(t, n.Write([]byte("new")))
	if data, err := n.Read(); err != nil || string(data) != "new" {
		t.Errorf("%q, %v", data, err)
	}
	layouttest.Try(t, n.Remove())
	if entries, err := os.ReadDir(filepath.Join(dir, journal.Dir)); err != nil || len(entries) != 2 {
		t.Errorf("%v, %v", entries, err)
	}
}
