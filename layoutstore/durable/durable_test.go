package durable_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/durable"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// has checks that a directory contains exactly the files in want, with their content. It does not
// compare the content of directories and links.
func has(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, ok := want[e.Name()]
		if !ok {
			t.Errorf("got the file %s, want no file with this name", e.Name())
			continue
		}
		if !e.Type().IsRegular() {
			continue
		}
		if got, err := os.ReadFile(filepath.Join(dir, e.Name())); err != nil || string(got) != text {
			t.Errorf("%s: got the content %q and the error %v, want %q", e.Name(), got, err, text)
		}
	}
	if len(entries) != len(want) {
		t.Errorf("the directory contains %d files, want %d", len(entries), len(want))
	}
}

func TestWriteFileKeepsMode(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "state")
	layouttest.Try(t, durable.WriteFile(name, []byte("one"), 0o600))
	has(t, dir, map[string]string{"state": "one"})
	layouttest.Try(t, os.Chmod(name, 0o640)) // an operator may have set this mode
	layouttest.Try(t, durable.WriteFile(name, []byte("two"), 0o600))
	has(t, dir, map[string]string{"state": "two"})
	info, err := os.Stat(name)
	layouttest.Try(t, err)
	if info.Mode().Perm() != 0o640 {
		t.Errorf("got the mode %v, want 0640", info.Mode())
	}
}

// WriteFile replaces the file instead of overwriting it. So a reader that has the old file open
// continues to read the old content.
func TestWriteFileReplacesFileOrLink(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	layouttest.Try(t, os.WriteFile(target, []byte("old"), 0o644))
	layouttest.Try(t, os.Link(target, filepath.Join(dir, "other")))
	layouttest.Try(t, os.Symlink("target", link))
	for _, name := range []string{target, link} {
		layouttest.Try(t, durable.WriteFile(name, []byte("new"), 0o644))
	}
	has(t, dir, map[string]string{"target": "new", "link": "new", "other": "old"})
	if info, err := os.Lstat(link); err != nil || !info.Mode().IsRegular() {
		t.Errorf("file at the path of the link after WriteFile: got mode %v, error %v; want a regular file", info.Mode(), err)
	}
}

// If a write fails, the old file is unchanged, and no other file remains.
func TestFailedWriteFileChangesNothing(t *testing.T) {
	dir := t.TempDir()
	layouttest.Try(t, os.MkdirAll(filepath.Join(dir, "taken", "by"), 0o755))
	if err := durable.WriteFile(filepath.Join(dir, "taken"), []byte("x"), 0o644); err == nil {
		t.Error("WriteFile(path of a directory): got no error, want one")
	}
	if err := durable.WriteFile(filepath.Join(dir, "missing", "file"), []byte("x"), 0o644); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("WriteFile in a missing directory: got %v, want ErrNotExist", err)
	}
	if err := durable.WriteInPlace(filepath.Join(dir, "taken"), []byte("x"), 0o644); err == nil {
		t.Error("WriteInPlace(path of a directory): got no error, want one")
	}
	has(t, dir, map[string]string{"taken": ""})
}

func TestCreateCommitAndDiscard(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "blob")
	f, err := durable.Create(name, 0o644)
	layouttest.Try(t, err)
	_, err = f.Write([]byte("he"))
	layouttest.Try(t, err)
	if n, err := f.ReadFrom(strings.NewReader("ad")); n != 2 || err != nil {
		t.Errorf("ReadFrom copied %d bytes with the error %v, want 2 and none", n, err)
	}
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat before Commit: got the error %v, want ErrNotExist", err)
	}
	layouttest.Try(t, f.Commit())
	layouttest.Try(t, f.Discard()) // usually deferred
	has(t, dir, map[string]string{"blob": "head"})
	layouttest.Try(t, os.Chmod(name, 0))
	f, err = durable.Create(name, 0o600)
	layouttest.Try(t, err)
	_, err = f.Write([]byte("tail"))
	layouttest.Try(t, err)
	layouttest.Try(t, f.Commit())
	info, err := os.Stat(name)
	layouttest.Try(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("Stat after Commit: got mode %v, want 0600", info.Mode())
	}
	f, err = durable.Create(name, 0o644)
	layouttest.Try(t, err)
	_, err = f.Write([]byte("half"))
	layouttest.Try(t, err)
	layouttest.Try(t, f.Discard())
	has(t, dir, map[string]string{"blob": "tail"})
}

func TestWriteFileInStaysBelowRoot(t *testing.T) {
	dir := t.TempDir()
	layouttest.Try(t, os.Mkdir(filepath.Join(dir, "in"), 0o755))
	layouttest.Try(t, os.Mkdir(filepath.Join(dir, "in", "failed"), 0o755))
	layouttest.Try(t, os.Symlink("../..", filepath.Join(dir, "in", "out")))
	root, err := os.OpenRoot(filepath.Join(dir, "in"))
	layouttest.Try(t, err)
	defer root.Close()
	for _, text := range []string{"one", "two"} {
		layouttest.Try(t, durable.WriteFileIn(root, "failed/reason.json", []byte(text), 0o644))
		has(t, filepath.Join(dir, "in", "failed"), map[string]string{"reason.json": text})
	}
	layouttest.Try(t, durable.WriteFileIn(root, "reason.json", []byte("top"), 0o644))
	has(t, filepath.Join(dir, "in"), map[string]string{"reason.json": "top", "failed": "", "out": ""})
	for _, name := range []string{"../reason.json", "out/reason.json", "missing/reason.json", "failed"} {
		if err := durable.WriteFileIn(root, name, []byte("x"), 0o644); err == nil {
			t.Errorf("WriteFileIn(%s): got no error, want one", name)
		}
	}
	has(t, dir, map[string]string{"in": ""})
}

func TestMkdirAll(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", "b", "c")
	for range 2 {
		layouttest.Try(t, durable.MkdirAll(deep, 0o755))
	}
	if info, err := os.Stat(deep); err != nil || !info.IsDir() {
		t.Errorf("Stat after MkdirAll = %v, error %v; want a directory", info, err)
	}
	layouttest.Try(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o644))
	if err := durable.MkdirAll(filepath.Join(dir, "file", "x"), 0o755); err == nil {
		t.Error("MkdirAll(path below a file): got no error, want one")
	}
	t.Chdir(dir)
	layouttest.Try(t, durable.MkdirAll("relative/x", 0o755))
}

func TestSyncTreeAndDirectory(t *testing.T) {
	dir := t.TempDir()
	layouttest.Try(t, os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755))
	layouttest.Try(t, durable.WriteInPlace(filepath.Join(dir, "a", "file"), bytes.Repeat([]byte("x"), 1<<16), 0o644))
	layouttest.Try(t, os.Symlink("nowhere", filepath.Join(dir, "link")))
	layouttest.Try(t, durable.SyncDir(filepath.Join(dir, "a")))
	layouttest.Try(t, durable.SyncTree(dir))
	missing := filepath.Join(dir, "missing")
	for what, err := range map[string]error{"SyncDir": durable.SyncDir(missing), "SyncTree": durable.SyncTree(missing)} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s(missing directory): got error %v, want ErrNotExist", what, err)
		}
	}
}
