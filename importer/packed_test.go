package importer_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// packing makes an importer that keeps archives as they are.
func packing(t *testing.T, store string) *testImporter {
	t.Helper()
	i, err := newTestImporter(importer.Options{Store: store, KeepPacked: true, Jobs: 1})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func kept(t *testing.T, store string, bundles ...string) importer.Report {
	t.Helper()
	report, err := packing(t, store).Import(t.Context(), bundles...)
	if err != nil {
		t.Fatalf("importing %v: %v", bundles, err)
	}
	return report
}

// image is an archive with one image in modules/console, tagged stable.
func image(t *testing.T, store, file, name string) string {
	t.Helper()
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("modules/console")
	l.Tag(l.Image(layouttest.Image{Name: name, LayerSizes: []int64{5000}}), "stable")
	l.Write()
	dir, err := os.MkdirTemp(filepath.Dir(store), "in")
	if err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(dir, file)
	tree.Archive(archive, layouttest.Archive{})
	return archive
}

func TestKeepPacked(t *testing.T) {
	store := filepath.Join(scratch(t), "store")
	imported(t, store, oldBundle(t))
	want := mustContent(t, store)
	archive := image(t, store, "module-console.tar", "packed")
	want = want.over(mustContent(t, archive))
	spare := copied(t, filepath.Dir(archive))
	report := kept(t, store, archive)
	same(t, "the store", mustContent(t, store), want)
	if report.Generation != 2 || report.Tags != (importer.Tags{Replaced: 1}) || len(report.Packed) != 1 || report.Blobs.Written > 0 {
		t.Errorf("report %+v", report)
	}
	all := files(t, store)
	if all["/module-console.tar"] == 0 || len(stands(t, store)) > 0 {
		t.Errorf("the archive is not in the store: %v", all)
	}
	if _, err := os.Stat(archive); !errors.Is(err, os.ErrNotExist) {
		t.Error("it is where it was as well")
	}
	if report := kept(t, store, spare); report.Changed || report.Tags != (importer.Tags{Same: 1}) {
		t.Errorf("once more: %+v", report)
	}
	// What is unpacked later wins over it, and it wins again when it is imported again.
	bundle := newBundle(t)
	imported(t, store, bundle)
	same(t, "the store", mustContent(t, store), want.over(mustContent(t, bundle)))
	if report := kept(t, store, spare); !report.Changed || report.Tags.Replaced != 1 {
		t.Errorf("after another: %+v", report)
	}
	same(t, "the store", mustContent(t, store), want.over(mustContent(t, bundle)).over(mustContent(t, spare)))
}

// Other bytes with a name that is taken get another one, and the later generation wins
// whatever the names are. An archive of the old form is still known by its own name.
func TestKeepPackedNames(t *testing.T) {
	store := filepath.Join(scratch(t), "store")
	for n, name := range []string{"module-console.tar", "a.tar", "module-console.tar"} {
		archive := image(t, store, name, string(rune('a'+n)))
		want := mustContent(t, archive)
		report := kept(t, store, archive)
		same(t, name, mustContent(t, store), want)
		if n == 2 && (len(report.Packed) != 1 || report.Packed[0] != "module-console.3.tar") {
			t.Errorf("report %+v", report)
		}
	}
	old := filepath.Join(filepath.Dir(image(t, store, "x.tar", "x")), "module-console.tar")
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("modules/console")
	l.Tag(l.Image(layouttest.Image{Name: "legacy"}), "stable")
	l.Write()
	tree.Archive(old, layouttest.Archive{Strip: "modules/console"})
	want := mustContent(t, old)
	kept(t, store, old)
	same(t, "an archive of the old form", mustContent(t, store), want)
}

// An archive that somebody put into the store comes first of all, until it is imported.
func TestKeepPackedWasThere(t *testing.T) {
	store := filepath.Join(scratch(t), "store")
	in := filepath.Join(filepath.Dir(store), "in")
	first := archiveOf(t, filepath.Join(in, "module-console.tar"), "app:stable=first", "app:v1=first")
	second := archiveOf(t, filepath.Join(in, "b.tar"), "app:stable=second")
	want := mustContent(t, first)
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
	kept(t, store, second)
	i, old := packing(t, store), mustContent(t, store)
	steps := 0
	i.Before(func(op, path string) error {
		steps++
		if now := mustContent(t, store); !maps.Equal(now, want) {
			same(t, fmt.Sprintf("before %s %s", op, path), now, old)
		}
		return nil
	})
	if report, err := i.Import(t.Context(), first); err != nil || steps == 0 || !report.Changed || report.Tags != (importer.Tags{Replaced: 1, Same: 1}) {
		t.Errorf("report %+v %v", report, err)
	}
	same(t, "the store", mustContent(t, store), want)
	if report := kept(t, store, first); report.Changed || report.Tags != (importer.Tags{Same: 2}) {
		t.Errorf("once more: %+v", report)
	}
}

func TestKeepPackedChunks(t *testing.T) {
	store := filepath.Join(scratch(t), "store")
	archive := image(t, store, "module-console.tar", "chunks")
	want := mustContent(t, archive)
	chunks := layouttest.Split(t, archive, 3000)
	sizes := files(t, filepath.Dir(archive))
	kept(t, store, chunks[1])
	same(t, "the store", mustContent(t, store), want)
	have := files(t, store)
	for _, chunk := range chunks {
		name := "/" + filepath.Base(chunk)
		if size, ok := have[name]; !ok || size != sizes[name] {
			t.Errorf("%s has %d bytes in the store, want %d", name, size, sizes[name])
		}
	}
}

// What is damaged, or no archive, stays where it is.
func TestKeepPackedRefuses(t *testing.T) {
	store := filepath.Join(scratch(t), "store")
	archive := image(t, store, "module-console.tar", "bad")
	flip(t, archive, largest(layouttest.Places(t, archive)).Body)
	var gap *importer.GapError
	if _, err := packing(t, store).Import(t.Context(), archive); !errors.As(err, &gap) || len(gap.Gaps) != 1 || gap.Gaps[0].Path != archive {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(archive); err != nil || len(mustContent(t, store)) > 0 {
		t.Errorf("the archive went: %v", err)
	}
	tree := layouttest.New(t, t.TempDir())
	tree.Layout("a").Write()
	if _, err := packing(t, store).Import(t.Context(), tree.Dir()); !errors.Is(err, importer.ErrNotPacked) {
		t.Errorf("%v", err)
	}
	if _, err := newTestImporter(importer.Options{Store: store, KeepPacked: true, AllowIncomplete: true}); !errors.Is(err, importer.ErrPackedIncomplete) {
		t.Errorf("%v", err)
	}
}
