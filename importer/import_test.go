package importer_test

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// An import gives a store the content of its bundles, whether they are archives, chunks or trees.
func TestImportOfEachFormOfBundle(t *testing.T) {
	bundle := importertest.OldBundle(t)
	want := importertest.MustContent(t, bundle)
	chunks := importertest.Copied(t, bundle)
	archives, err := filepath.Glob(filepath.Join(chunks, "*.tar"))
	if err != nil || len(archives) == 0 {
		t.Fatal(err, archives)
	}
	var each []string
	for _, archive := range archives {
		each = append(each, filepath.Join(bundle, filepath.Base(archive)))
		layouttest.Split(t, archive, 3001)
	}
	unpacked := filepath.Join(importertest.Scratch(t), "store")
	importertest.Imported(t, unpacked, bundle)
	for name, sources := range map[string][]string{
		"a directory of archives": {bundle}, "archives": each, "chunks": {chunks},
		"one chunk": {filepath.Join(chunks, "module-console.tar.0001.chunk"), filepath.Join(bundle, "platform.tar"), filepath.Join(bundle, "module-empty.tar")},
		"a tree":    {unpacked},
	} {
		t.Run(name, func(t *testing.T) {
			store := filepath.Join(t.TempDir(), "deep", "store")
			report := importertest.Imported(t, store, sources...)
			importertest.Same(t, "the store", importertest.MustContent(t, store), want)
			if !report.Changed || report.Generation != 1 || report.Repositories != 3 || report.Tags != (importer.Tags{New: 3}) || len(report.Problems) > 0 {
				t.Errorf("report %+v", report)
			}
			if left := importertest.Unfinished(t, store); len(left) > 0 {
				t.Errorf("unfinished files in the store: got %v, want none", left)
			}
		})
	}
}

func TestImportingAgainChangesNothing(t *testing.T) {
	store, bundle := filepath.Join(importertest.Scratch(t), "store"), importertest.OldBundle(t)
	importertest.Imported(t, store, bundle)
	before, stamp := importertest.Files(t, store), modified(t, store)
	report := importertest.Imported(t, store, bundle)
	if report.Changed || report.Generation != 1 || report.Blobs.Written > 0 || report.Tags != (importer.Tags{Same: 3}) {
		t.Errorf("report %+v", report)
	}
	if after := importertest.Files(t, store); !maps.Equal(after, before) || !modified(t, store).Equal(stamp) {
		t.Errorf("files of the store after the second import: got %v, want no change", after)
	}
}

func modified(t *testing.T, store string) time.Time {
	t.Helper()
	info, err := os.Stat(filepath.Join(store, journal.StateFile))
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}

// If a later bundle replaces content, the old content stays available by digest. Repositories with
// the same blob share one file.
func TestReplacedContentStays(t *testing.T) {
	store, old, bundle := filepath.Join(importertest.Scratch(t), "store"), importertest.OldBundle(t), importertest.NewBundle(t)
	importertest.Imported(t, store, old)
	before := importertest.MustContent(t, store)
	report := importertest.Imported(t, store, bundle)
	importertest.Same(t, "the store", importertest.MustContent(t, store), before.Over(importertest.MustContent(t, bundle)))
	if report.Generation != 2 || report.Tags.Replaced != 1 || report.Blobs.Linked == 0 {
		t.Errorf("report %+v", report)
	}
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{store}, Roots: []string{"r"}})
	if err != nil {
		t.Fatal(err)
	}
	repo, err := tree.Snapshot().Repository("r/modules/console")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Manifest(context.Background(), digest.Digest(before["modules/console:stable"])); err != nil {
		t.Errorf("reading the manifest whose tag was replaced: got error %v, want none", err)
	}
	if n := links(t, store); n == 0 {
		t.Error("no two repositories share the file of a blob, want at least one shared file")
	}
	if _, err := repo.Tag(t.Context(), "v1.0.0"); err != nil {
		t.Errorf("reading a tag that only the old bundle has: got error %v, want none", err)
	}
	// The store is served under the root that most image references in its indexes contain.
	tree, err = layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{store}})
	if err != nil {
		t.Fatal(err)
	}
	if roots := tree.Snapshot().Roots(); len(roots) != 1 || roots[0] != "deckhouse/ee" {
		t.Errorf("roots %q", roots)
	}
}

// links counts the files that are hard links to a file that was already counted.
func links(t *testing.T, dir string) (n int) {
	t.Helper()
	var seen []fs.FileInfo
	for name, size := range importertest.Files(t, dir) {
		if size < 0 {
			continue
		}
		info, err := os.Stat(dir + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range seen {
			if os.SameFile(info, other) {
				n++
			}
		}
		seen = append(seen, info)
	}
	return n
}

// If a blob of the store is missing or truncated, a second import of the bundle restores it.
func TestImportRestoresBlobs(t *testing.T) {
	store, bundle := filepath.Join(importertest.Scratch(t), "store"), importertest.OldBundle(t)
	importertest.Imported(t, store, bundle)
	want := importertest.MustContent(t, store)
	blobs, err := filepath.Glob(filepath.Join(store, "modules/console/blobs/sha256/*"))
	if err != nil || len(blobs) < 3 {
		t.Fatal(err, blobs)
	}
	if err := errors.Join(os.Remove(blobs[0]), os.Truncate(blobs[1], 1)); err != nil {
		t.Fatal(err)
	}
	if report := importertest.Imported(t, store, bundle); !report.Changed || report.Generation != 2 {
		t.Errorf("report %+v", report)
	}
	importertest.Same(t, "the store", importertest.MustContent(t, store), want)
}

func TestLaterBundleWins(t *testing.T) {
	store, one, two := filepath.Join(importertest.Scratch(t), "store"), importertest.OldBundle(t), importertest.NewBundle(t)
	report := importertest.Imported(t, store, two, one)
	importertest.Same(t, "the store", importertest.MustContent(t, store), importertest.MustContent(t, two).Over(importertest.MustContent(t, one)))
	if report.Generation != 1 {
		t.Errorf("report %+v", report)
	}
}

// Imports of two processes take turns, and no tag is lost. The test uses two importers in one
// process: a lock belongs to an open file, so they behave like two processes.
func TestImportsTakeTurns(t *testing.T) {
	store := filepath.Join(importertest.Scratch(t), "store")
	bundles := []string{importertest.OldBundle(t), importertest.NewBundle(t)}
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			if _, err := importertest.New(t, store).Import(t.Context(), bundles[n%2]); err != nil {
				t.Errorf("import %d failed: %v", n, err)
			}
		})
	}
	wg.Wait()
	got := importertest.MustContent(t, store)
	for _, tag := range []string{".:v1.0.0", "modules/console:v1.0.0", "modules/console:v1.1.0", "modules/console/release:stable"} {
		if got[tag] == "" {
			t.Errorf("the store has no tag %s, want the tags of all imports", tag)
		}
	}
}

// An interrupted import keeps its proven blobs in staging. The next import reuses them, also if a server of the
// store has started meanwhile.
func TestInterruptedImportResumes(t *testing.T) {
	for name, between := range map[string]func(*importertest.Importer) error{
		"at once":                func(*importertest.Importer) error { return nil },
		"after a server's start": func(i *importertest.Importer) error { return i.Recover(t.Context()) },
	} {
		t.Run(name, func(t *testing.T) { resume(t, between) })
	}
}

// resume interrupts an import, calls between, and imports the bundle again.
func resume(t *testing.T, between func(*importertest.Importer) error) {
	t.Helper()
	store, bundle := filepath.Join(importertest.Scratch(t), "store"), importertest.NewBundle(t)
	ctx, cancel := context.WithCancel(t.Context())
	i := importertest.New(t, store)
	writes := 0
	i.Before(func(op, _ string) error {
		if op == "write" {
			if writes++; writes == 10 {
				cancel()
			}
		}
		return nil
	})
	if _, err := i.Import(ctx, bundle); !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted: %v", err)
	}
	if len(importertest.MustContent(t, store)) > 0 {
		t.Error("the interrupted import published content, want none published")
	}
	if len(importertest.Unfinished(t, store)) == 0 {
		t.Fatal("the interrupted import kept no blobs in staging, want some")
	}
	importertest.Must(t, between(importertest.New(t, store)))
	all, rest := importertest.Imported(t, filepath.Join(t.TempDir(), "other"), bundle), importertest.Imported(t, store, bundle)
	if rest.Blobs.Written > all.Blobs.Written-5 || rest.Blobs.Verified != all.Blobs.Verified {
		t.Errorf("blobs of the resumed import: got %+v, want at least 5 fewer written, and as many verified, as by an import into an empty store: %+v", rest.Blobs, all.Blobs)
	}
	importertest.Same(t, "the store", importertest.MustContent(t, store), importertest.MustContent(t, bundle))
	if left := importertest.Unfinished(t, store); len(left) > 0 {
		t.Errorf("unfinished files in the store: got %v, want none", left)
	}
}

// An import does not trust blobs that an interrupted import left in staging: it proves them again.
func TestStagedBlobsAreProvenAgain(t *testing.T) {
	store, bundle := filepath.Join(importertest.Scratch(t), "store"), importertest.OldBundle(t)
	importertest.Imported(t, filepath.Join(t.TempDir(), "model"), bundle)
	staged := filepath.Join(store, ".layoutproxy/staging/tree/modules/console")
	layout := filepath.Join(t.TempDir(), "model")
	importertest.Imported(t, layout, bundle)
	if err := os.CopyFS(staged, os.DirFS(filepath.Join(layout, "modules/console"))); err != nil {
		t.Fatal(err)
	}
	blobs, err := filepath.Glob(filepath.Join(staged, "blobs/sha256/*"))
	if err != nil || len(blobs) == 0 {
		t.Fatal(err)
	}
	for _, b := range blobs {
		importertest.Flip(t, b, 0)
	}
	importertest.Imported(t, store, bundle)
	importertest.Same(t, "the store", importertest.MustContent(t, store), importertest.MustContent(t, bundle))
}

func TestNewNeedsAStore(t *testing.T) {
	if _, err := importertest.NewWith(importer.Options{}); !errors.Is(err, importer.ErrNoStore) {
		t.Errorf("%v", err)
	}
}

// The import of a missing bundle fails, and creates no store.
func TestMissingBundle(t *testing.T) {
	store := filepath.Join(importertest.Scratch(t), "store")
	_, err := importertest.New(t, store).Import(t.Context(), filepath.Join(t.TempDir(), "nothing"))
	if !errors.Is(err, fs.ErrNotExist) || !errors.As(err, new(*importer.BundleError)) {
		t.Errorf("got error %v, want a *BundleError that wraps ErrNotExist", err)
	}
	if _, err := os.Stat(store); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat of the store after the failed import: got error %v, want ErrNotExist", err)
	}
}

// An import into a store with a newer format fails, and does not change the store.
func TestStoreOfALaterFormat(t *testing.T) {
	store := filepath.Join(importertest.Scratch(t), "store")
	importertest.Imported(t, store, importertest.OldBundle(t))
	if err := os.WriteFile(filepath.Join(store, journal.StateFile), []byte(`{"format":2,"generation":7}`), 0o644); err != nil {
		t.Fatal(err)
	}
	before := importertest.Files(t, store)
	if _, err := importertest.New(t, store).Import(t.Context(), importertest.NewBundle(t)); err == nil || !strings.Contains(err.Error(), "format 2") {
		t.Errorf("%v", err)
	}
	if !maps.Equal(importertest.Files(t, store), before) {
		t.Error("the failed import changed the store, want no change")
	}
	if _, err := importertest.ContentOf(t.Context(), store); err == nil || !strings.Contains(err.Error(), "format 2") {
		t.Errorf("reading a store of a later format: got error %v, want one that names format 2", err)
	}
}
