package importer_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// spoilers damage a file of a store in different ways. If possible, the file keeps its hard links.
func spoilers() map[string]func(t *testing.T, file string) {
	return map[string]func(t *testing.T, file string){
		"a flipped bit": func(t *testing.T, file string) {
			info, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			if info.Size() == 0 {
				t.Fatalf("cannot flip a bit of %s, because it is empty", file)
			}
			importertest.Flip(t, file, info.Size()-1)
		},
		"cut": func(t *testing.T, file string) {
			if err := os.Truncate(file, 1); err != nil {
				t.Fatal(err)
			}
		},
		"longer": func(t *testing.T, file string) {
			f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString("x"); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		},
		"another file": func(t *testing.T, file string) {
			info, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.Remove(file), os.WriteFile(file, make([]byte, info.Size()), 0o644)); err != nil {
				t.Fatal(err)
			}
		},
	}
}

func blobFiles(t *testing.T, store string) (names []string) {
	t.Helper()
	for name, size := range importertest.Files(t, store) {
		if size > 0 && strings.Contains(name, "/blobs/sha256/") {
			names = append(names, store+name)
		}
	}
	slices.Sort(names)
	return names
}

// If a blob of the store is damaged, an import of an intact bundle replaces it, even if the damaged
// file has the right name and size.
func TestImportRepairs(t *testing.T) {
	pristine, bundle := filepath.Join(importertest.Scratch(t), "store"), importertest.OldBundle(t)
	importertest.Imported(t, pristine, bundle)
	want := importertest.MustContent(t, pristine)
	for how, spoil := range spoilers() {
		t.Run(how, func(t *testing.T) {
			store := importertest.Copied(t, pristine)
			for _, file := range blobFiles(t, store) {
				spoil(t, file)
				report := importertest.Imported(t, store, bundle)
				if report.Blobs.Repaired != 1 || !report.Changed || report.Tags != (importer.Tags{Same: 3}) {
					t.Fatalf("%s was damaged: report of the import %+v, want one repair", file, report)
				}
				importertest.Proven(t, file)
			}
			importertest.Same(t, "the store", importertest.MustContent(t, store), want)
			if report := importertest.Imported(t, store, bundle); report.Changed || report.Blobs.Repaired != 0 {
				t.Errorf("report of the second import: got %+v, want no change", report)
			}
			if left := importertest.Unfinished(t, store); len(left) > 0 {
				t.Errorf("unfinished files in the store: got %v, want none", left)
			}
		})
	}
}

// If several repositories share a damaged file, an import replaces it in all of them, even if the
// bundle has none of these repositories. So a new tag never leads to damaged content.
func TestImportRepairsOtherRepositories(t *testing.T) {
	bundle := func(paths ...string) string {
		tree := layouttest.New(t, t.TempDir())
		for _, at := range paths {
			l := tree.Layout(at)
			l.Tag(l.Image(layouttest.Image{Name: "shared", LayerSizes: []int64{9000}}), "v1")
			l.Write()
		}
		return tree.Dir()
	}
	for how, spoil := range spoilers() {
		for name, good := range map[string]string{"a damaged repository": bundle("a"), "another repository": bundle("d")} {
			t.Run(how+", "+name, func(t *testing.T) {
				store := filepath.Join(importertest.Scratch(t), "store")
				importertest.Imported(t, store, bundle("a", "b", "c"))
				layer := importertest.LargestFile(t, store, "/b/")
				spoil(t, layer)
				importertest.Imported(t, store, good)
				importertest.MustContent(t, store)
				var inodes []os.FileInfo
				for _, file := range blobFiles(t, store) {
					importertest.Proven(t, file)
					if filepath.Base(file) == filepath.Base(layer) {
						info, err := os.Stat(file)
						if err != nil {
							t.Fatal(err)
						}
						inodes = append(inodes, info)
					}
				}
				for _, info := range inodes[1:] {
					if how != "another file" && !os.SameFile(info, inodes[0]) {
						t.Error("after the repair, the repositories have several files of the blob, want a shared one")
					}
				}
			})
		}
	}
}

// If a blob is in quarantine, an import that needs it repairs the blob first. A new link to the
// blob would not end the quarantine.
func TestImportRepairsQuarantinedBlobs(t *testing.T) {
	store := filepath.Join(importertest.Scratch(t), "store")
	importertest.Imported(t, store, importertest.OldBundle(t))
	layer := importertest.LargestFile(t, store, "/modules/console/blobs/")
	d := digest.NewDigestFromEncoded(digest.SHA256, filepath.Base(layer))
	importertest.Flip(t, layer, 10)
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{store}, Indexes: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	repo, err := tree.Snapshot().At("modules/console")
	if err != nil {
		t.Fatal(err)
	}
	l := repo.Layouts()[0]
	stamp, err := l.Stamp(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if news, err := repo.Quarantine(t.Context(), l, d, stamp, "wrong"); err != nil || !news {
		t.Fatal(news, err)
	}
	importertest.Imported(t, store, importertest.NewBundle(t)) // the new bundle has the same layer
	if _, err := tree.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := importertest.ContentOfSnapshot(t.Context(), tree.Snapshot()); err != nil {
		t.Error(err)
	}
	importertest.Proven(t, layer)
}

// If a blob is damaged in an archive of the store, an import adds an intact unpacked copy, which is
// served instead. If an unpacked copy is damaged, the import of an archive replaces it. Otherwise,
// the damaged copy would be served instead of the archive's.
func TestImportRepairsBesideArchives(t *testing.T) {
	store := filepath.Join(importertest.Scratch(t), "store")
	archive := importertest.Image(t, store, "module-console.tar", "packed")
	spare := importertest.Copied(t, filepath.Dir(archive))
	importertest.Kept(t, store, archive)
	want := importertest.MustContent(t, store)
	inside := filepath.Join(store, "module-console.tar")
	importertest.Flip(t, inside, importertest.Largest(layouttest.Places(t, inside)).Body+7)
	report := importertest.Imported(t, store, spare)
	if report.Blobs.Repaired != 1 || report.Blobs.Written != 1 {
		t.Errorf("report %+v", report)
	}
	importertest.Same(t, "the store", importertest.MustContent(t, store), want)
	if report := importertest.Imported(t, store, spare); report.Blobs.Repaired > 0 || report.Changed {
		t.Errorf("report of the second import: got %+v, want no change", report)
	}

	loose := filepath.Join(importertest.Scratch(t), "store")
	importertest.Imported(t, loose, spare)
	layer := importertest.LargestFile(t, loose, "/blobs/")
	importertest.Flip(t, layer, 7)
	if report := importertest.Kept(t, loose, importertest.Copied(t, spare)); report.Blobs.Repaired != 1 || !report.Changed {
		t.Errorf("report %+v", report)
	}
	importertest.Proven(t, layer)
	importertest.Same(t, "the store with unpacked content", importertest.MustContent(t, loose), want)
}

// If a bundle contains a damaged copy of a blob, the import fails and repairs nothing.
func TestDamagedBundleRepairsNothing(t *testing.T) {
	store, bundle := filepath.Join(importertest.Scratch(t), "store"), importertest.OldBundle(t)
	importertest.Imported(t, store, bundle)
	archive := filepath.Join(bundle, "module-console.tar")
	importertest.Flip(t, archive, importertest.Largest(layouttest.Places(t, archive)).Body)
	before := importertest.MustContent(t, store)
	_, err := importertest.New(t, store).Import(t.Context(), bundle)
	var incomplete *importer.IncompleteError
	if !errors.As(err, &incomplete) {
		t.Fatalf("got error %v, want *IncompleteError", err)
	}
	importertest.Same(t, "the store", importertest.MustContent(t, store), before)
}

// A repair is interrupted at each of its steps. No tag is lost, intact content stays intact, and
// the next import completes the repair.
func TestInterruptedRepair(t *testing.T) {
	pristine, bundle := filepath.Join(importertest.Scratch(t), "store"), importertest.OldBundle(t)
	importertest.Imported(t, pristine, bundle)
	want := importertest.MustContent(t, pristine)
	stride := 3
	if os.Getenv("LAYOUTPROXY_TEST_ALL") != "" {
		stride = 1
	}
	for n := 1; ; n += stride {
		store := importertest.Copied(t, pristine)
		for _, file := range blobFiles(t, store) {
			importertest.Flip(t, file, 0)
		}
		i, step := importertest.New(t, store), 0
		i.Before(func(string, string) error {
			if step++; step >= n {
				return errors.New("dead")
			}
			return nil
		})
		_, err := i.Import(t.Context(), bundle)
		if missing := len(blobFiles(t, pristine)) - len(blobFiles(t, store)); missing > 0 {
			t.Fatalf("step %d: the interrupted repair removed %d blobs, want 0", n, missing)
		}
		importertest.Imported(t, store, bundle)
		if importertest.Same(t, "the store", importertest.MustContent(t, store), want); t.Failed() {
			t.Fatalf("step %d", n)
		}
		if err == nil {
			if n < 20 {
				t.Errorf("the repair has only %d steps, want at least 20", n)
			}
			return
		}
	}
}

// Imports of all bundles of a store restore it, however its files were damaged.
func TestImportRepairsAnything(t *testing.T) {
	pristine, old, bundle := filepath.Join(importertest.Scratch(t), "store"), importertest.OldBundle(t), importertest.NewBundle(t)
	importertest.Imported(t, pristine, old)
	importertest.Imported(t, pristine, bundle)
	want := importertest.MustContent(t, pristine)
	all := spoilers()
	all["gone"] = func(t *testing.T, file string) {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	all["a symbolic link to itself"] = func(t *testing.T, file string) {
		if err := errors.Join(os.Remove(file), os.Symlink(filepath.Base(file), file)); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	seeds := uint64(3)
	if os.Getenv("LAYOUTPROXY_TEST_ALL") != "" {
		seeds = 30
	}
	for seed := range seeds {
		random := rand.New(rand.NewPCG(seed, 17))
		store := importertest.Copied(t, pristine)
		var did []string
		for _, file := range blobFiles(t, store) {
			if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && random.IntN(3) == 0 {
				name := names[random.IntN(len(names))]
				all[name](t, file)
				did = append(did, fmt.Sprintf("%s: %s", file, name))
			}
		}
		importertest.Imported(t, store, old, bundle)
		got, err := importertest.ContentOf(t.Context(), store)
		if err != nil {
			t.Fatalf("seed %d: reading the repaired store failed: %v; before the repair, these files were damaged:\n%s", seed, err, strings.Join(did, "\n"))
		}
		importertest.Same(t, fmt.Sprintf("seed %d", seed), got, want)
	}
}
