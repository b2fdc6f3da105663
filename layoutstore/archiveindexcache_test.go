package layoutstore_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// cachedBundle writes an archive and a chunk set, and returns options to open them with a cache
// directory.
func cachedBundle(t *testing.T) (options layoutstore.Options, have content) {
	t.Helper()
	tree := build(t, "", ".", "install", "modules/x", "modules/x/release")
	dir := t.TempDir()
	tree.Bundle(dir)
	layouttest.Split(t, filepath.Join(dir, "module-x.tar"), 3000)
	options = archiveOptions(dir)
	options.CacheDir = filepath.Join(t.TempDir(), "made/when needed")
	return options, contentOf(t, tree)
}

// openAndSave opens a tree, and saves the indexes of its archives to the cache.
func openAndSave(t *testing.T, options layoutstore.Options) *layoutstore.Tree {
	t.Helper()
	tree := openWith(t, options)
	if err := tree.SaveCaches(context.Background()); err != nil {
		t.Fatal(err)
	}
	return tree
}

func cacheFiles(t *testing.T, options layoutstore.Options) (files []string) {
	t.Helper()
	err := filepath.WalkDir(options.CacheDir, func(file string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			files = append(files, file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestCachedIndexServesTheSameContent(t *testing.T) {
	options, have := cachedBundle(t)
	for range 3 {
		wantAll(t, openAndSave(t, options), have)
		if n := len(cacheFiles(t, options)); n != 2 {
			t.Errorf("got %d cached indexes, want 2: one for the archive and one for the chunk set", n)
		}
	}
	// The same entries of an incomplete archive are served with and without a cache.
	archive := filepath.Join(options.Sources[0], "platform.tar")
	data := layouttest.ReadFile(t, archive)
	layouttest.WriteFile(t, archive, data[:len(data)/2])
	places := layouttest.Places(t, func() string {
		file := filepath.Join(t.TempDir(), "whole.tar")
		layouttest.WriteFile(t, file, data)
		return file
	}())
	inPlatform := readableWithout(places, have, int64(len(data)/2), never)
	whole := func(name string) bool {
		in := slices.ContainsFunc(places, func(p layouttest.Place) bool { return p.Name == name })
		return !in || inPlatform(name)
	}
	for range 2 {
		opened := openAndSave(t, options)
		wantServed(t, opened, have, whole)
		wantProblem(t, opened, layoutstore.Incomplete, archive, "")
	}
	layouttest.WriteFile(t, archive, data)
	wantAll(t, openAndSave(t, options), have)
}

// If the files of the cache are damaged, all content of the archives is still served.
func TestDamagedCacheServesTheSameContent(t *testing.T) {
	options, have := cachedBundle(t)
	wantAll(t, openAndSave(t, options), have)
	good := map[string][]byte{}
	for _, file := range cacheFiles(t, options) {
		good[file] = layouttest.ReadFile(t, file)
	}
	files := keys(good)
	damage := func(what string, do func(file string)) {
		t.Helper()
		for _, file := range files {
			do(file)
		}
		wantAll(t, openAndSave(t, options), have)
		wantAll(t, openAndSave(t, options), have)
		for _, file := range files {
			if err := os.RemoveAll(file); err != nil {
				t.Fatal(err)
			}
			layouttest.WriteFile(t, file, good[file])
		}
		if t.Failed() {
			t.Fatalf("see the errors above: they occurred with the cached index %s", what)
		}
	}
	damage("removed", func(file string) { _ = os.Remove(file) })
	damage("emptied", func(file string) { layouttest.WriteFile(t, file, "") })
	damage("cut to a few bytes", func(file string) { layouttest.WriteFile(t, file, good[file][:10]) })
	damage("cut in half", func(file string) { layouttest.WriteFile(t, file, good[file][:len(good[file])/2]) })
	damage("cut by a byte", func(file string) { layouttest.WriteFile(t, file, good[file][:len(good[file])-1]) })
	damage("with an additional byte", func(file string) { layouttest.WriteFile(t, file, append(slices.Clone(good[file]), 0)) })
	damage("replaced by garbage", func(file string) {
		layouttest.WriteFile(t, file, []byte("garbage in place of the index, and longer than any checksum"))
	})
	damage("replaced by that of another archive", func(file string) {
		layouttest.WriteFile(t, file, good[files[(slices.Index(files, file)+1)%len(files)]])
	})
	damage("replaced by a directory", func(file string) {
		if err := errors.Join(os.Remove(file), os.Mkdir(file, 0o755)); err != nil {
			t.Fatal(err)
		}
	})
	damage("replaced by a link to itself", func(file string) {
		if err := errors.Join(os.Remove(file), os.Symlink(file, file)); err != nil {
			t.Fatal(err)
		}
	})
	longest := 0
	for _, data := range good {
		longest = max(longest, len(data))
	}
	for at := 0; at < longest; at += 1 + longest/40 {
		damage("with a flipped bit", func(file string) {
			data := slices.Clone(good[file])
			data[at%len(data)] ^= 0x10
			layouttest.WriteFile(t, file, data)
		})
	}
}

func TestUnwritableCacheServesTheSameContent(t *testing.T) {
	options, have := cachedBundle(t)
	file := filepath.Join(t.TempDir(), "file")
	layouttest.WriteFile(t, file, []byte("not a directory"))
	for _, dir := range []string{file, filepath.Join(file, "below"), "/dev/null", "/proc/no/such", ""} {
		options.CacheDir = dir
		for range 2 {
			wantAll(t, openAndSave(t, options), have)
		}
	}
	if got := layouttest.ReadFile(t, file); string(got) != "not a directory" {
		t.Errorf("the file in place of the cache directory has the content %q, want it unchanged", got)
	}
}

// A refresh notices that an archive was replaced by one with the same name, size and time.
func TestArchiveChangedWithSameSizeAndTime(t *testing.T) {
	one, two := buildUsual(t, "one"), buildUsual(t, "two")
	for how, replace := range map[string]func(archive string, data []byte){
		"in place": func(archive string, data []byte) { layouttest.WriteFile(t, archive, data) },
		"by rename": func(archive string, data []byte) {
			layouttest.WriteFile(t, archive+".tmp", data)
			rename(t, archive+".tmp", archive)
		},
	} {
		for _, chunk := range []int64{0, 30000} {
			archive := pack(t, one)
			other := pack(t, two)
			files, others := []string{archive}, []string{other}
			if chunk > 0 {
				files, others = layouttest.Split(t, archive, chunk), layouttest.Split(t, other, chunk)
			}
			makeOld(t, files...)
			options := archiveOptions(filepath.Dir(archive))
			options.CacheDir = t.TempDir()
			opened := openAndSave(t, options)
			wantAll(t, opened, contentOf(t, one))
			layouttest.AwaitLaterTime(t, files[0])
			for i, file := range files {
				info, err := os.Stat(file)
				if err != nil {
					t.Fatal(err)
				}
				data := layouttest.ReadFile(t, others[i])
				if int64(len(data)) != info.Size() {
					t.Fatalf("the replaced file has %d bytes, but the new file has %d, want equal sizes", info.Size(), len(data))
				}
				awaitClock(t)
				replace(file, data)
				if err := os.Chtimes(file, info.ModTime(), info.ModTime()); err != nil {
					t.Fatal(err)
				}
			}
			// Before the next scan, requests get the correct content or an error.
			for name := range contentOf(t, one) {
				if layout, d, ok := blobAt(name); ok {
					_ = readBlob(t, opened, repositoryName(layout), d)
				}
			}
			wantAll(t, openAndSave(t, options), contentOf(t, two))
			refresh(t, opened)
			wantAll(t, opened, contentOf(t, two))
			if t.Failed() {
				t.Fatalf("see the errors above: they occurred with a replacement %s and chunks of %d bytes (0: no chunks)", how, chunk)
			}
		}
	}
}

// awaitClock waits until the clock of the file system has advanced.
func awaitClock(t *testing.T) {
	t.Helper()
	probe := filepath.Join(t.TempDir(), "now")
	layouttest.WriteFile(t, probe, "")
	layouttest.AwaitLaterTime(t, probe)
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// SaveCaches removes old cached indexes whose archives no longer exist.
func TestSaveCachesRemovesUnusedIndexes(t *testing.T) {
	options, _ := cachedBundle(t)
	openAndSave(t, options)
	for _, file := range cacheFiles(t, options) {
		old := time.Now().Add(-8 * 24 * time.Hour)
		if err := os.Chtimes(file, old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(options.Sources[0], "platform.tar")); err != nil {
		t.Fatal(err)
	}
	openAndSave(t, options)
	if n := len(cacheFiles(t, options)); n != 1 {
		t.Errorf("got %d cached indexes, want 1: that of the remaining archive", n)
	}
}

// A reload may change the options of the tree while the caches are saved in the background. The race
// detector checks this test.
func TestSaveCachesDuringReconfigure(t *testing.T) {
	bundle := layouttest.New(t, t.TempDir())
	layouttest.Publish(t, bundle.Dir(), "app", "v1")
	dir := t.TempDir()
	bundle.Archive(filepath.Join(dir, "app.tar"), layouttest.Archive{})
	options := layoutstore.Options{Sources: []string{dir}, CacheDir: t.TempDir()}
	tree, err := layoutstore.Open(t.Context(), options)
	layouttest.Try(t, err)
	saved := make(chan error, 1)
	go func() {
		for range 50 {
			if err := tree.SaveCaches(t.Context()); err != nil {
				saved <- err
				return
			}
		}
		saved <- nil
	}()
	for range 50 {
		options.NoEditionSplit = !options.NoEditionSplit
		_, err := tree.Reconfigure(t.Context(), options)
		layouttest.Try(t, err)
	}
	layouttest.Try(t, <-saved)
}
