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

// A store has the content of its bundles, whatever form the bundles have.
func TestFormsOfBundles(t *testing.T) {
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
				t.Errorf("left over: %v", left)
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
		t.Errorf("the store has changed: %v", after)
	}
}

// modified returns when the state of a store was written.
func modified(t *testing.T, store string) time.Time {
	t.Helper()
	info, err := os.Stat(filepath.Join(store, journal.StateFile))
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}

// Content that a later bundle replaces stays available by digest. Repositories share one file of the same
// content.
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
		t.Errorf("the manifest that lost its tag: %v", err)
	}
	if n := links(t, store); n == 0 {
		t.Error("no blob has two links")
	}
	if _, err := repo.Tag(t.Context(), "v1.0.0"); err != nil {
		t.Errorf("a tag that the new bundle does not have: %v", err)
	}
	// Most references still name the root of the bundle.
	tree, err = layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{store}})
	if err != nil {
		t.Fatal(err)
	}
	if roots := tree.Snapshot().Roots(); len(roots) != 1 || roots[0] != "deckhouse/ee" {
		t.Errorf("roots %q", roots)
	}
}

// links counts the files that are hard links of files counted before.
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

// Importing the bundle again restores a missing or truncated blob of the store.
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

// If two bundles have a tag, the later one wins.
func TestLaterBundleWins(t *testing.T) {
	store, one, two := filepath.Join(importertest.Scratch(t), "store"), importertest.OldBundle(t), importertest.NewBundle(t)
	report := importertest.Imported(t, store, two, one)
	importertest.Same(t, "the store", importertest.MustContent(t, store), importertest.MustContent(t, two).Over(importertest.MustContent(t, one)))
	if report.Generation != 1 {
		t.Errorf("report %+v", report)
	}
}

// Imports of two processes take turns and lose no tags. A lock belongs to an open file, so two importers of
// one process behave like two processes.
func TestImportsTakeTurns(t *testing.T) {
	store := filepath.Join(importertest.Scratch(t), "store")
	bundles := []string{importertest.OldBundle(t), importertest.NewBundle(t)}
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			if _, err := importertest.New(t, store).Import(t.Context(), bundles[n%2]); err != nil {
				t.Errorf("import %d: %v", n, err)
			}
		})
	}
	wg.Wait()
	got := importertest.MustContent(t, store)
	for _, tag := range []string{".:v1.0.0", "modules/console:v1.0.0", "modules/console:v1.1.0", "modules/console/release:stable"} {
		if got[tag] == "" {
			t.Errorf("%s is lost", tag)
		}
	}
}

// An interrupted import keeps proven blobs in staging, and the next import reuses them.
func TestInterruptedImportResumes(t *testing.T) {
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
		t.Error("something was published")
	}
	if len(importertest.Unfinished(t, store)) == 0 {
		t.Fatal("no blobs were kept")
	}
	all, rest := importertest.Imported(t, filepath.Join(t.TempDir(), "other"), bundle), importertest.Imported(t, store, bundle)
	if rest.Blobs.Written > all.Blobs.Written-5 || rest.Blobs.Verified != all.Blobs.Verified {
		t.Errorf("the resumed import writes %+v, a fresh one %+v", rest.Blobs, all.Blobs)
	}
	importertest.Same(t, "the store", importertest.MustContent(t, store), importertest.MustContent(t, bundle))
	if left := importertest.Unfinished(t, store); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// An import proves staged blobs of an interrupted import again before it uses them.
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

// A missing bundle creates no store.
func TestMissingBundle(t *testing.T) {
	store := filepath.Join(importertest.Scratch(t), "store")
	_, err := importertest.New(t, store).Import(t.Context(), filepath.Join(t.TempDir(), "nothing"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(store); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the store: %v", err)
	}
}

// An import refuses a store of a later format, and does not change it.
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
		t.Error("the store has changed")
	}
	if _, err := importertest.ContentOf(t.Context(), store); err == nil || !strings.Contains(err.Error(), "format 2") {
		t.Errorf("a reader: %v", err)
	}
}
