// Package volumetest contains the tests that every implementation of volume.Volume must pass.
package volumetest

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// Open opens a volume that contains the layouts of the tree.
type Open func(t *testing.T, tree *layouttest.Tree) volume.Volume

// Run runs all tests of the package for the volumes that open returns.
func Run(t *testing.T, open Open) {
	for name, test := range map[string]func(*testing.T, Open){
		"lists every layout by its path":             layouts,
		"reads each index byte for byte":             indexes,
		"locates each blob byte for byte":            blobs,
		"lists the blobs of each layout":             lists,
		"reports a missing blob as fs.ErrNotExist":   missing,
		"does not read names that begin with a dot":  hidden,
		"lists no layouts of an empty volume":        empty,
		"reads nothing after the context has ended":  cancelled,
		"serves several goroutines at the same time": together,
	} {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}

// content contains the digests of the blobs in the tree, by the path of their layout.
type content map[string][]digest.Digest

func build(t *testing.T) (*layouttest.Tree, content) {
	tree := layouttest.New(t, t.TempDir())
	have := content{}
	for _, path := range []string{".", "install", "modules/x", "modules/x/release", "modules/blobs", "a/b/c/d/e/f"} {
		l := tree.Layout(path)
		l.Tag(l.Image(layouttest.Image{Name: path, LayerSizes: []int64{0, 1, 5000}}), "v1")
		l.Tag(l.Image(layouttest.Image{Name: path + "512", LayerSizes: []int64{10}, Algorithm: digest.SHA512}), "v2")
		l.Write()
		have[path] = blobsOf(t, l.Dir())
	}
	tree.Layout("empty").Write()
	have["empty"] = nil
	return tree, have
}

// blobsOf returns the digests of a layout's blobs, taken from their file names.
func blobsOf(t *testing.T, dir string) []digest.Digest {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "blobs", "*", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("found no blobs below %s (error %v), want some", dir, err)
	}
	var all []digest.Digest
	for _, f := range files {
		alg := filepath.Base(filepath.Dir(f))
		all = append(all, digest.NewDigestFromEncoded(digest.Algorithm(alg), filepath.Base(f)))
	}
	return all
}

func list(t *testing.T, v volume.Volume) []volume.Layout {
	t.Helper()
	listing, err := v.Layouts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(listing.Problems) > 0 {
		t.Fatalf("Layouts: got the problems %v, want none", listing.Problems)
	}
	return listing.Layouts
}

func paths(layouts []volume.Layout) []string {
	var all []string
	for _, l := range layouts {
		all = append(all, l.Path)
	}
	return all
}

func layouts(t *testing.T, open Open) {
	tree, _ := build(t)
	want := []string{".", "a/b/c/d/e/f", "empty", "install", "modules/blobs", "modules/x", "modules/x/release"}
	if diff := cmp.Diff(want, paths(list(t, open(t, tree)))); diff != "" {
		t.Error(diff)
	}
}

func indexes(t *testing.T, open Open) {
	tree, _ := build(t)
	for _, l := range list(t, open(t, tree)) {
		want, err := os.ReadFile(filepath.Join(tree.Dir(), l.Path, "index.json"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := l.Index.ReadAll(t.Context())
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("index of %s: got %d bytes and the error %v, want %d bytes", l.Path, len(got), err, len(want))
		}
		if l.Stamp.ID == "" {
			t.Errorf("the index of %s has no stamp, want one", l.Path)
		}
	}
}

func blobs(t *testing.T, open Open) {
	tree, have := build(t)
	v := open(t, tree)
	for path, digests := range have {
		for _, d := range digests {
			check(t, v, path, d)
		}
	}
}

// lists compares the listed blobs of each layout with the layout's files. Blobs to which no index
// refers must be listed. Files whose names are not digests must not be listed.
func lists(t *testing.T, open Open) {
	tree, have := build(t)
	l := tree.Layout("install")
	extra := l.Blob("application/octet-stream", []byte("no index refers to this")).Digest
	have["install"] = append(have["install"], extra)
	for _, name := range []string{"notes.txt", ".hidden", extra.Encoded() + ".tmp", extra.Encoded()[:10]} {
		if err := os.WriteFile(filepath.Join(l.Dir(), "blobs", "sha256", name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	v := open(t, tree)
	for path, want := range have {
		slices.Sort(want)
		got, err := v.Blobs(t.Context(), path)
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" || err != nil {
			t.Errorf("Blobs of %s: got the error %v, want nil; difference (-want +got):\n%s", path, err, diff)
		}
	}
	for _, path := range []string{"modules/y", "modules", "install/blobs"} {
		if got, err := v.Blobs(t.Context(), path); len(got) > 0 || err != nil {
			t.Errorf("Blobs of %s, which is not a layout: got %v and the error %v, want neither", path, got, err)
		}
	}
}

func check(t *testing.T, v volume.Volume, layout string, d digest.Digest) {
	t.Helper()
	where, err := v.Locate(t.Context(), layout, d)
	if err != nil {
		t.Errorf("Locate of %s in %s: got the error %v, want nil", d, layout, err)
		return
	}
	got, err := where.ReadAll(t.Context())
	if err != nil || d.Algorithm().FromBytes(got) != d {
		t.Errorf("%s in %s: got %d bytes and the error %v, want the content with this digest", d, layout, len(got), err)
	}
}

func missing(t *testing.T, open Open) {
	tree, have := build(t)
	v := open(t, tree)
	for name, c := range map[string]struct {
		layout string
		digest digest.Digest
	}{
		"unknown digest":                   {"install", digest.FromString("content of no blob")},
		"another algorithm":                {"install", digest.SHA512.FromString("content of no blob")},
		"blob of another layout":           {"empty", have["install"][0]},
		"unknown layout":                   {"modules/y", have["install"][0]},
		"a directory that is not a layout": {"modules", have["install"][0]},
		"not a digest":                     {"install", "sha256:../../index.json"},
		"no algorithm":                     {"install", "index.json"},
		"empty":                            {"install", ""},
		"outside":                          {"../install", have["install"][0]},
	} {
		if where, err := v.Locate(t.Context(), c.layout, c.digest); !errors.Is(err, fs.ErrNotExist) && !(name == "outside" && err != nil) {
			t.Errorf("Locate of %s: got %v and the error %v, want ErrNotExist", name, where, err)
		}
	}
}

func hidden(t *testing.T, open Open) {
	tree, _ := build(t)
	for _, path := range []string{".tmp/modules/x", "modules/.old"} {
		tree.Layout(path).Write()
	}
	for _, path := range paths(list(t, open(t, tree))) {
		if path == ".tmp/modules/x" || path == "modules/.old" {
			t.Errorf("Layouts lists %s, want no path with a name that begins with a dot", path)
		}
	}
}

func empty(t *testing.T, open Open) {
	if got := list(t, open(t, layouttest.New(t, t.TempDir()))); len(got) > 0 {
		t.Errorf("Layouts of an empty volume: got %v, want none", paths(got))
	}
}

// cancelled calls each method with a context that has ended. Each call must return the context's
// cause or error, and no error about the content.
func cancelled(t *testing.T, open Open) {
	tree, have := build(t)
	v := open(t, tree)
	index := list(t, v)[0].Index
	blob := have["install"][0]
	where, err := v.Locate(t.Context(), "install", blob)
	if err != nil {
		t.Fatal(err)
	}
	cause := errors.New("the caller has left")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	for name, read := range map[string]func() error{
		"Layouts":                    func() error { _, err := v.Layouts(ctx); return err },
		"Blobs":                      func() error { _, err := v.Blobs(ctx, "install"); return err },
		"Locate":                     func() error { _, err := v.Locate(ctx, "install", blob); return err },
		"Locate of a missing blob":   func() error { _, err := v.Locate(ctx, "install", digest.FromString("content of no blob")); return err },
		"Locate in a missing layout": func() error { _, err := v.Locate(ctx, "modules/y", blob); return err },
		"Open":                       func() error { _, err := where.Open(ctx); return err },
		"OpenOnce":                   func() error { _, err := where.OpenOnce(ctx); return err },
		"ReadAll":                    func() error { _, err := where.ReadAll(ctx); return err },
		"StampOf":                    func() error { _, err := volume.StampOf(ctx, where); return err },
		"Open of a file":             func() error { _, err := where[0].File.Open(ctx); return err },
		"ReadAll of an index":        func() error { _, err := index.ReadAll(ctx); return err },
		"Open of an index file":      func() error { _, err := index[0].File.Open(ctx); return err },
	} {
		if err := read(); !errors.Is(err, cause) && !errors.Is(err, context.Canceled) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, extent.ErrStale) {
			t.Errorf("%s: got %v, want the cause or error of the context", name, err)
		}
	}
	check(t, v, "install", blob) // the volume must not remember the errors
}

func together(t *testing.T, open Open) {
	tree, have := build(t)
	v := open(t, tree)
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for path, digests := range have {
				for _, d := range digests {
					check(t, v, path, d)
				}
				if _, err := v.Layouts(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
}
