package importer_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

func TestKeepPacked(t *testing.T) {
	store := filepath.Join(importertest.Scratch(t), "store")
	importertest.Imported(t, store, importertest.OldBundle(t))
	want := importertest.MustContent(t, store)
	archive := importertest.Image(t, store, "module-console.tar", "packed")
	want = want.Over(importertest.MustContent(t, archive))
	spare := importertest.Copied(t, filepath.Dir(archive))
	report := importertest.Kept(t, store, archive)
	importertest.Same(t, "the store", importertest.MustContent(t, store), want)
	if report.Generation != 2 || report.Tags != (importer.Tags{Replaced: 1}) || len(report.Packed) != 1 || report.Blobs.Written > 0 {
		t.Errorf("report %+v", report)
	}
	all := importertest.Files(t, store)
	if all["/module-console.tar"] == 0 || len(importertest.Unfinished(t, store)) > 0 {
		t.Errorf("files of the store: got %v, want module-console.tar and no unfinished files", all)
	}
	if _, err := os.Stat(archive); !errors.Is(err, os.ErrNotExist) {
		t.Error("the archive is still in the bundle, want it moved into the store")
	}
	if report := importertest.Kept(t, store, spare); report.Changed || report.Tags != (importer.Tags{Same: 1}) {
		t.Errorf("report of the second import: got %+v, want no change", report)
	}
	// A bundle that is unpacked later wins the tag. Importing the archive again wins the tag back.
	bundle := importertest.NewBundle(t)
	importertest.Imported(t, store, bundle)
	importertest.Same(t, "the store", importertest.MustContent(t, store), want.Over(importertest.MustContent(t, bundle)))
	if report := importertest.Kept(t, store, spare); !report.Changed || report.Tags.Replaced != 1 {
		t.Errorf("import after a different bundle won the tag: got report %+v, want one replaced tag", report)
	}
	importertest.Same(t, "the store", importertest.MustContent(t, store), want.Over(importertest.MustContent(t, bundle)).Over(importertest.MustContent(t, spare)))
}

// If the store has a different archive with the same name, the new archive gets a new name. The
// later generation wins a tag, whatever the names are. The test also imports an archive whose only
// layout is at its root.
func TestKeepPackedNames(t *testing.T) {
	store := filepath.Join(importertest.Scratch(t), "store")
	for n, name := range []string{"module-console.tar", "a.tar", "module-console.tar"} {
		archive := importertest.Image(t, store, name, string(rune('a'+n)))
		want := importertest.MustContent(t, archive)
		report := importertest.Kept(t, store, archive)
		importertest.Same(t, name, importertest.MustContent(t, store), want)
		if n == 2 && (len(report.Packed) != 1 || report.Packed[0] != "module-console.3.tar") {
			t.Errorf("report %+v", report)
		}
	}
	old := filepath.Join(filepath.Dir(importertest.Image(t, store, "x.tar", "x")), "module-console.tar")
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("modules/console")
	l.Tag(l.Image(layouttest.Image{Name: "legacy"}), "stable")
	l.Write()
	tree.Archive(old, layouttest.Archive{Strip: "modules/console"})
	want := importertest.MustContent(t, old)
	importertest.Kept(t, store, old)
	importertest.Same(t, "the store after the import of an archive with a layout at its root", importertest.MustContent(t, store), want)
}

// An archive that somebody copied into the store loses each tag to any other content with the same
// tag. Once it is imported, it wins the tag.
func TestKeepPackedArchiveAlreadyInStore(t *testing.T) {
	store := filepath.Join(importertest.Scratch(t), "store")
	in := filepath.Join(filepath.Dir(store), "in")
	first := importertest.ArchiveOf(t, filepath.Join(in, "module-console.tar"), "app:stable=first", "app:v1=first")
	second := importertest.ArchiveOf(t, filepath.Join(in, "b.tar"), "app:stable=second")
	want := importertest.MustContent(t, first)
	data, err := os.ReadFile(first)
	if err == nil {
		err = os.MkdirAll(store, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(store, "module-console.tar"), data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	importertest.Kept(t, store, second)
	i, old := importertest.Packing(t, store), importertest.MustContent(t, store)
	steps := 0
	i.Before(func(op, path string) error {
		steps++
		if now := importertest.MustContent(t, store); !maps.Equal(now, want) {
			importertest.Same(t, fmt.Sprintf("the store before the step %s %s", op, path), now, old)
		}
		return nil
	})
	if report, err := i.Import(t.Context(), first); err != nil || steps == 0 || !report.Changed || report.Tags != (importer.Tags{Replaced: 1, Same: 1}) {
		t.Errorf("report %+v, error %v", report, err)
	}
	importertest.Same(t, "the store", importertest.MustContent(t, store), want)
	if report := importertest.Kept(t, store, first); report.Changed || report.Tags != (importer.Tags{Same: 2}) {
		t.Errorf("report of the second import: got %+v, want no change", report)
	}
}

func TestKeepPackedChunks(t *testing.T) {
	store := filepath.Join(importertest.Scratch(t), "store")
	archive := importertest.Image(t, store, "module-console.tar", "chunks")
	want := importertest.MustContent(t, archive)
	chunks := layouttest.Split(t, archive, 3000)
	sizes := importertest.Files(t, filepath.Dir(archive))
	importertest.Kept(t, store, chunks[1])
	importertest.Same(t, "the store", importertest.MustContent(t, store), want)
	have := importertest.Files(t, store)
	for _, chunk := range chunks {
		name := "/" + filepath.Base(chunk)
		if size, ok := have[name]; !ok || size != sizes[name] {
			t.Errorf("%s has %d bytes in the store, want %d", name, size, sizes[name])
		}
	}
}

// With KeepPacked, an import refuses a damaged archive, which stays where it is, and a bundle that is not
// packed in archives.
func TestKeepPackedRefusesDamagedArchives(t *testing.T) {
	store := filepath.Join(importertest.Scratch(t), "store")
	archive := importertest.Image(t, store, "module-console.tar", "bad")
	importertest.Flip(t, archive, importertest.Largest(layouttest.Places(t, archive)).Body)
	var incomplete *importer.IncompleteError
	if _, err := importertest.Packing(t, store).Import(t.Context(), archive); !errors.As(err, &incomplete) || len(incomplete.Problems) != 1 || incomplete.Problems[0].Path != archive {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(archive); err != nil || len(importertest.MustContent(t, store)) > 0 {
		t.Errorf("after the refused import: got error %v from a stat of the archive, want none and an empty store", err)
	}
	tree := layouttest.New(t, t.TempDir())
	tree.Layout("a").Write()
	if _, err := importertest.Packing(t, store).Import(t.Context(), tree.Dir()); !errors.Is(err, importer.ErrNotPacked) {
		t.Errorf("%v", err)
	}
	if _, err := importertest.NewWith(importer.Options{Store: store, KeepPacked: true, AllowIncomplete: true}); !errors.Is(err, importer.ErrPackedIncomplete) {
		t.Errorf("%v", err)
	}
}
