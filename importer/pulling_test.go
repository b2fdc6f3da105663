package importer_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// pulling makes a directory as a pull leaves it that was killed between two renames: the
// new a.tar has its place, the new b.tar is staged, and the old one is beside it.
func pulling(t *testing.T, dir string) {
	t.Helper()
	staged := filepath.Join(dir, volume.StagedDir(1))
	archiveOf(t, filepath.Join(dir, "a.tar"), "a:stable=two")
	archiveOf(t, filepath.Join(dir, "b.tar"), "b:stable=one")
	archiveOf(t, filepath.Join(staged, "b.tar"), "b:stable=two", "b:v2=two")
	p := volume.Publication{Staged: filepath.Base(staged)}
	for name, at := range map[string]string{"a.tar": dir, "b.tar": staged} {
		info, err := os.Stat(filepath.Join(at, name))
		if err != nil {
			t.Fatal(err)
		}
		p.Place = append(p.Place, volume.PublishedFileOf(name, info))
	}
	data, err := p.Encode()
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, volume.PublicationFile), data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// finishPull does what the pull left undone.
func finishPull(t *testing.T, dir string) {
	t.Helper()
	staged := filepath.Join(dir, volume.StagedDir(1))
	for _, err := range []error{
		os.Rename(filepath.Join(staged, "b.tar"), filepath.Join(dir, "b.tar")),
		os.Remove(filepath.Join(dir, volume.PublicationFile)),
		os.RemoveAll(staged),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// An import takes the new state of a bundle that a pull has not moved into place yet.
// Archives that are to be moved into the store are left to the pull first.
func TestImportBesidePull(t *testing.T) {
	store, dir := filepath.Join(scratch(t), "store"), t.TempDir()
	pulling(t, dir)
	var gap *importer.GapError
	if _, err := packing(t, store).Import(t.Context(), dir); !errors.As(err, &gap) || len(gap.Gaps) != 1 || gap.Gaps[0].Path != dir {
		t.Errorf("kept packed: %v", err)
	}
	imported(t, store, dir)
	got := mustContent(t, store)
	finishPull(t, dir)
	same(t, "the store", got, mustContent(t, dir))
	packed := filepath.Join(scratch(t), "packed")
	kept(t, packed, dir)
	same(t, "the packed store", mustContent(t, packed), got)
}

// A pull into a drop directory is imported when it has moved everything into place.
func TestDropBesidePull(t *testing.T) {
	d := newDropping(t)
	pulling(t, d.dir)
	d.look(0)
	d.look(3 * time.Second)
	d.wants("a.tar", "waiting", "a pull is publishing here")
	d.wants("b.tar", "waiting", "a pull is publishing here")
	want := mustContent(t, d.dir)
	finishPull(t, d.dir)
	d.look(0)
	d.look(3 * time.Second)
	d.wants("a.tar", "published", "")
	d.wants("b.tar", "published", "")
	same(t, "the store", mustContent(t, d.store), want)
}

// So is one into a directory that was dropped: nothing is taken from under it.
func TestDropDirectoryBesidePull(t *testing.T) {
	d := removing(t)
	d.mkdir("bundle")
	dir := filepath.Join(d.dir, "bundle")
	pulling(t, dir)
	want, before := mustContent(t, dir), contents(t, dir)
	d.look(0)
	d.look(time.Minute)
	d.wants("bundle", "waiting", "a pull is publishing here")
	if !maps.Equal(before, contents(t, dir)) {
		t.Error("something of it went")
	}
	finishPull(t, dir)
	d.look(time.Second)
	d.look(time.Minute)
	d.wants("bundle", "published", "")
	same(t, "the store", mustContent(t, d.store), want)
}

// Where the staged archive is lost, nothing is taken from the directory.
func TestImportBesideLostPull(t *testing.T) {
	store, dir := filepath.Join(scratch(t), "store"), t.TempDir()
	pulling(t, dir)
	if err := os.RemoveAll(filepath.Join(dir, volume.StagedDir(1))); err != nil {
		t.Fatal(err)
	}
	var gap *importer.GapError
	for _, source := range []string{dir, filepath.Join(dir, "a.tar")} {
		if _, err := newImporter(t, store).Import(t.Context(), source); !errors.As(err, &gap) || len(mustContent(t, store)) > 0 {
			t.Errorf("%s: %v", source, err)
		}
	}
}
