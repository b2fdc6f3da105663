package importer_test

import (
	"archive/tar"
	"cmp"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/gather"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/importer/prune"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/buckettest"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// refused imports an incomplete bundle, and returns its problems. It fails the test unless the
// import is refused and leaves the store unchanged.
func refused(t *testing.T, bundle string) []layoutstore.Problem {
	t.Helper()
	store := filepath.Join(importertest.Scratch(t), "store")
	importertest.Imported(t, store, importertest.OldBundle(t))
	before := importertest.Files(t, store)
	_, err := importertest.New(t, store).Import(t.Context(), bundle)
	var incomplete *importer.IncompleteError
	if !errors.As(err, &incomplete) {
		t.Fatalf("got error %v, want *IncompleteError", err)
	}
	if after := importertest.Files(t, store); !maps.Equal(after, before) {
		t.Errorf("files of the store after the refused import: got %v, want no change", after)
	}
	return incomplete.Problems
}

func TestFlippedBlob(t *testing.T) {
	archive, places := importertest.One(t)
	layer := importertest.Largest(places)
	importertest.Flip(t, archive, layer.Body+4000)
	problems := refused(t, archive)
	hex := filepath.Base(layer.Name)
	if g := problems[0]; len(problems) != 1 || g.Kind != layoutstore.Damaged || g.Path != archive || g.Entry != layer.Name || g.Tag() != "v1" || g.Repository != "modules/one" || g.Digest.Encoded() != hex {
		t.Errorf("%+v", problems)
	}
}

// If a blob in a chunk set is damaged, the problem names the chunk that must be copied again.
func TestFlippedBlobInAChunk(t *testing.T) {
	archive, places := importertest.One(t)
	layer := importertest.Largest(places)
	importertest.Flip(t, archive, layer.Body+4000)
	layouttest.CutAt(t, archive, layer.Header, layer.End)
	problems := refused(t, filepath.Dir(archive))
	if g := problems[0]; len(problems) != 1 || g.Kind != layoutstore.Damaged || g.Path != archive || g.Chunk() != "chunk 0001" || !strings.Contains(g.String(), " in chunk 0001: ") {
		t.Errorf("%+v", problems)
	}
}

// A damaged byte in any entry of an archive makes an import refuse the bundle.
func TestFlippedEntries(t *testing.T) {
	archive, places := importertest.One(t)
	for _, p := range places {
		if strings.HasSuffix(p.Name, "oci-layout") {
			continue // imports do not read this entry
		}
		// Damage the first byte, because an index can still be valid after a change of a later byte.
		at := p.Body
		t.Run(filepath.Base(p.Name), func(t *testing.T) {
			importertest.Flip(t, archive, at)
			defer importertest.Flip(t, archive, at)
			refused(t, archive)
		})
	}
}

func TestTruncatedArchive(t *testing.T) {
	archive, _ := importertest.One(t)
	data, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(data); n += len(data)/11 + 1 {
		cut := filepath.Join(t.TempDir(), "module-one.tar")
		if err := os.WriteFile(cut, data[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		if problems := refused(t, cut); problems[0].Path != cut {
			t.Errorf("archive that was cut at byte %d: got problems %+v, want the path of the archive", n, problems)
		}
	}
}

func TestMissingChunk(t *testing.T) {
	archive, _ := importertest.One(t)
	chunks := layouttest.Split(t, archive, 2000)
	for i := range chunks {
		data, err := os.ReadFile(chunks[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(chunks[i]); err != nil {
			t.Fatal(err)
		}
		if problems := refused(t, filepath.Dir(archive)); !strings.Contains(problems[0].Reason, "missing") {
			t.Errorf("chunk %d is missing: got problems %+v, want the first reason to contain the word missing", i, problems)
		}
		if err := os.WriteFile(chunks[i], data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	importertest.Imported(t, filepath.Join(importertest.Scratch(t), "store"), filepath.Dir(archive))
}

func TestMissingBlob(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("modules/one")
	image := l.Image(layouttest.Image{Name: "one", LayerSizes: []int64{9000}})
	l.Tag(image, "v1")
	l.Write()
	if err := os.Remove(l.BlobPath(image.Digest)); err != nil {
		t.Fatal(err)
	}
	problems := refused(t, tree.Dir())
	if g := problems[0]; g.Kind != layoutstore.Incomplete || g.Tag() != "v1" || g.Digest != image.Digest || g.Path == "" || g.Reason != "missing" {
		t.Errorf("%+v", problems)
	}
}

// With AllowIncomplete, an import publishes complete images. The tag of an incomplete image keeps
// its old digest.
func TestAllowIncomplete(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("modules/console")
	whole := l.Image(layouttest.Image{Name: "whole", LayerSizes: []int64{100}})
	broken := l.Image(layouttest.Image{Name: "broken", LayerSizes: []int64{65_000, 4000}})
	flipped := l.Image(layouttest.Image{Name: "flipped", LayerSizes: []int64{66_000}})
	l.Tag(whole, "v2")
	l.Tag(broken, "stable")
	l.Tag(l.Index(layouttest.Index{Children: importertest.Platforms(l)}), "multi")
	l.Tag(flipped, "v1.0.0")
	l.Write()
	dropped := 0
	for name, size := range importertest.Files(t, tree.Dir()) {
		if size == 65_000 {
			dropped++
			if err := os.Remove(tree.Dir() + name); err != nil {
				t.Fatal(err)
			}
		}
		if size == 66_000 {
			dropped++
			importertest.Flip(t, tree.Dir()+name, 60_000)
		}
	}
	if dropped != 2 {
		t.Fatalf("the test damaged %d layers, want 2", dropped)
	}
	store := filepath.Join(importertest.Scratch(t), "store")
	importertest.Imported(t, store, importertest.OldBundle(t))
	before := importertest.MustContent(t, store)
	i, err := importertest.NewWith(importer.Options{Store: store, AllowIncomplete: true})
	if err != nil {
		t.Fatal(err)
	}
	report, err := i.Import(t.Context(), tree.Dir())
	if err != nil {
		t.Fatal(err)
	}
	after := importertest.MustContent(t, store)
	if len(report.Problems) != 2 || report.Tags != (importer.Tags{New: 2, LeftOut: 2}) || after["modules/console:stable"] != before["modules/console:stable"] || after["modules/console:v1.0.0"] != before["modules/console:v1.0.0"] {
		t.Errorf("report %+v", report)
	}
	if after["modules/console:v2"] != string(whole.Digest) || after["modules/console:multi"] == "" {
		t.Errorf("tags in the store: got %v, want v2 and multi, whose images are complete in the bundle", after)
	}
	for name, size := range importertest.Files(t, store) {
		if size == 4000 || size == 66_000 {
			t.Errorf("the import published %s, want only content that complete images need", name)
		}
	}
}

// With AllowIncomplete, an import from a chunk set publishes the images that do not need the
// missing chunk. Once the chunk is there, a second import publishes the remaining images.
func TestAllowIncompleteChunks(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("modules/console")
	l.Tag(l.Image(layouttest.Image{Name: "whole", LayerSizes: []int64{100}}), "v2")
	l.Tag(l.Image(layouttest.Image{Name: "lost", LayerSizes: []int64{90_000}}), "stable")
	l.Write()
	archive := filepath.Join(t.TempDir(), "module-console.tar")
	packIndexFirst(t, tree, archive)
	want := importertest.MustContent(t, archive)
	chunks := layouttest.Split(t, archive, 10_000)
	// Remove a chunk of the layer, which is the last entry.
	lost := chunks[len(chunks)-3]
	chunk, err := os.ReadFile(lost)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(lost); err != nil {
		t.Fatal(err)
	}

	store := filepath.Join(importertest.Scratch(t), "store")
	importertest.Imported(t, store, importertest.OldBundle(t))
	before := importertest.MustContent(t, store)
	i, err := importertest.NewWith(importer.Options{Store: store, AllowIncomplete: true})
	if err != nil {
		t.Fatal(err)
	}
	report, err := i.Import(t.Context(), filepath.Dir(archive))
	if err != nil {
		t.Fatal(err)
	}
	if report.Tags != (importer.Tags{New: 1, LeftOut: 1}) || len(report.Problems) == 0 {
		t.Errorf("report %+v", report)
	}
	importertest.Same(t, "the store", importertest.MustContent(t, store), before.Over(importertest.Content{"modules/console": want["modules/console"], "modules/console:v2": want["modules/console:v2"]}))

	if err := os.WriteFile(lost, chunk, 0o644); err != nil {
		t.Fatal(err)
	}
	if report := importertest.Imported(t, store, filepath.Dir(archive)); report.Tags != (importer.Tags{Same: 1, Replaced: 1}) || len(report.Problems) > 0 {
		t.Errorf("import with all chunks: got report %+v, want one replaced tag and no problems", report)
	}
	importertest.Same(t, "the store", importertest.MustContent(t, store), before.Over(want))
}

// With AllowIncomplete, an import publishes no repository whose images are all incomplete. A repository without
// images is complete.
func TestAllowIncompleteRepositories(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	tree.Layout("modules/empty").Write()
	l := tree.Layout("modules/lost")
	l.Tag(l.Image(layouttest.Image{Name: "lost", LayerSizes: []int64{9000, 100}}), "v1")
	l.Write()
	importertest.Must(t, os.Remove(importertest.LargestFile(t, tree.Dir(), "/blobs/")))
	s := buckettest.Start(t)
	dir := filepath.Join(importertest.Scratch(t), "store")
	for store, read := range map[string]func() importertest.Content{
		dir:      func() importertest.Content { return importertest.MustContent(t, dir) },
		inBucket: func() importertest.Content { return contentOfStore(t, s) },
	} {
		i, err := importer.New(importer.Options{Store: store, Buckets: s.Buckets(t), AllowIncomplete: true})
		importertest.Must(t, err)
		for n := range 2 {
			report, err := i.Import(t.Context(), tree.Dir())
			importertest.Must(t, err)
			if report.Changed != (n == 0) || report.Generation != 1 || len(report.Problems) != 1 || report.Tags != (importer.Tags{LeftOut: 1}) {
				t.Errorf("%s: import %d: got report %+v, want generation 1, one problem and one tag left out", store, n, report)
			}
			importertest.Same(t, store, read(), importertest.Content{"modules/empty": ""})
		}
	}
}

// packIndexFirst packs the small files of a tree before the large ones. So the index precedes the
// layers, as in archives that some other tools write.
func packIndexFirst(t *testing.T, tree *layouttest.Tree, archive string) {
	t.Helper()
	sizes := importertest.Files(t, tree.Dir())
	names := slices.SortedFunc(maps.Keys(sizes), func(a, b string) int { return cmp.Or(cmp.Compare(sizes[a], sizes[b]), cmp.Compare(a, b)) })
	var entries []layouttest.Entry
	for _, name := range names {
		if sizes[name] < 0 {
			continue // a directory
		}
		body, err := os.ReadFile(filepath.Join(tree.Dir(), name))
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, layouttest.File(strings.TrimPrefix(name, "/"), body))
	}
	layouttest.Tar(t, archive, entries...)
}

// A bundle is refused if a name in it leads out of the store or is malformed. Nothing is written
// outside of the store.
func TestHostileEntries(t *testing.T) {
	index := []byte(`{"schemaVersion":2,"manifests":[]}`)
	for name, e := range map[string]layouttest.Entry{
		"dots":     layouttest.File("../evil/index.json", index),
		"absolute": layouttest.File("/tmp/evil/index.json", index),
		"inside":   layouttest.File("modules/../../evil/index.json", index),
		"link":     {Header: tar.Header{Typeflag: tar.TypeSymlink, Name: "modules/x/index.json", Linkname: "/etc/passwd"}},
		"device":   {Header: tar.Header{Typeflag: tar.TypeChar, Name: "modules/x/index.json", Devmajor: 1, Devminor: 3}},
		"upper":    layouttest.File("Modules/x/index.json", index),
		"unicode":  layouttest.File("modules/\u00e9/index.json", index),
		"blobs":    layouttest.File("modules/blobs/index.json", index),
		"marker":   layouttest.File("modules/oci-layout/index.json", index),
		"nested":   layouttest.File("modules/x/index.json", []byte(strings.Repeat(`{"manifests":[`, 20_000))),
		"no index": layouttest.File("modules/x/index.json", []byte("{}")),
		"huge":     {Header: tar.Header{Typeflag: tar.TypeReg, Name: "modules/x/index.json", Size: 1 << 30}},
		"lie":      layouttest.File("modules/x/index.json", []byte(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:`+strings.Repeat("0", 64)+`","size":3}]}`)),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			archive := filepath.Join(dir, "in", "evil.tar")
			if err := os.Mkdir(filepath.Dir(archive), 0o755); err != nil {
				t.Fatal(err)
			}
			layouttest.Tar(t, archive, e, layouttest.File("modules/x/blobs/sha256/"+strings.Repeat("0", 64), []byte("abc")))
			problems := refused(t, archive)
			if problems[0].Reason == "" {
				t.Errorf("%+v", problems)
			}
			for file := range importertest.Files(t, dir) {
				if strings.Contains(file, "evil/") {
					t.Errorf("the import wrote %s outside of the store, want nothing written there", file)
				}
			}
		})
	}
}

// An empty directory, such as the mount point of an unmounted disk, is not a bundle.
func TestEmptyBundle(t *testing.T) {
	if problems := refused(t, t.TempDir()); len(problems) != 1 || problems[0].Kind != layoutstore.Incomplete {
		t.Errorf("%+v", problems)
	}
}

// writeInventory writes the inventory of a directory, without a signature, into the directory.
func writeInventory(t *testing.T, dir string) {
	t.Helper()
	var b inventory.Builder
	_, err := gather.Sources(t.Context(), []string{dir}, gather.Options{Checksums: true}, &b)
	importertest.Must(t, err)
	listed, err := b.Build("test")
	importertest.Must(t, err)
	data, err := listed.Encode()
	importertest.Must(t, err)
	importertest.Must(t, os.WriteFile(filepath.Join(dir, inventory.Name), data, 0o644))
}

// If an archive of a bundle was moved into the store, the rest of the bundle is complete without it. After a
// prune has removed the archive's tags, the archive is missing.
func TestMissingArchiveThatWasPruned(t *testing.T) {
	store, dir := filepath.Join(importertest.Scratch(t), "store"), importertest.Scratch(t)
	moved := importertest.ArchiveOf(t, filepath.Join(dir, "a.tar"), "app:v1.0.0=old")
	importertest.ArchiveOf(t, filepath.Join(dir, "b.tar"), "other:v1.0.0=other")
	writeInventory(t, dir)
	importertest.Kept(t, store, moved)
	if _, err := os.Lstat(moved); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("stat of the archive after its import: got error %v, want ErrNotExist", err)
	}
	importertest.Imported(t, store, dir)

	importertest.Imported(t, store, importertest.ArchiveOf(t, filepath.Join(t.TempDir(), "c.tar"), "app:v1.1.0=new"))
	pruneOld(t, store)
	if all := stateOf(t, store).Packed; len(all) != 1 || all[0].Retired == nil {
		t.Fatalf("archives of the store after the prune: got %+v, want one without tags", all)
	}
	var incomplete *importer.IncompleteError
	if _, err := importertest.New(t, store).Import(t.Context(), dir); !errors.As(err, &incomplete) || len(incomplete.Problems) != 1 || incomplete.Problems[0].Path != moved {
		t.Errorf("import of the rest of the bundle after the prune: got error %v, want one problem, about the pruned archive", err)
	}
}

// pruneOld removes the tags of all versions except the newest one of each repository.
func pruneOld(t *testing.T, store string) {
	t.Helper()
	p, err := prune.New(prune.Options{Store: store})
	importertest.Must(t, err)
	_, err = p.Run(t.Context(), prune.Request{Policy: prune.Policy{KeepNewest: 1}, Grace: time.Hour})
	importertest.Must(t, err)
}

func stateOf(t *testing.T, store string) journal.State {
	t.Helper()
	state, err := journal.ReadState(store)
	importertest.Must(t, err)
	return state
}

// If a prune has removed the tag of an image, an import of the image makes the store keep it. An import of an
// incomplete copy does not.
func TestIncompleteImageStaysPruned(t *testing.T) {
	store, bundle := filepath.Join(importertest.Scratch(t), "store"), importertest.AppTree(t, "a", "v1.0.0").Dir()
	importertest.Imported(t, store, bundle)
	importertest.Imported(t, store, importertest.App(t, "a", "v1.1.0"))
	pruneOld(t, store)
	if all := stateOf(t, store).Pruned; len(all) != 1 {
		t.Fatalf("pruned manifests: got %+v, want one", all)
	}
	complete := importertest.Copied(t, bundle)
	importertest.Must(t, os.Remove(importertest.LargestFile(t, bundle, "/blobs/")))
	i, err := importertest.NewWith(importer.Options{Store: store, AllowIncomplete: true})
	importertest.Must(t, err)
	report, err := i.Import(t.Context(), bundle)
	importertest.Must(t, err)
	if all := stateOf(t, store).Pruned; report.Changed || len(all) != 1 {
		t.Errorf("import of the incomplete image: got report %+v and pruned manifests %+v, want no change", report, all)
	}
	report = importertest.Imported(t, store, complete)
	if all := stateOf(t, store).Pruned; report.Tags.New != 1 || len(all) != 0 {
		t.Errorf("import of the complete image: got report %+v and pruned manifests %+v, want one new tag and no pruned manifest", report, all)
	}
}
