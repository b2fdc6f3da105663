package layoutstore_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// maxBytesPerBlob limits the memory per blob, in bytes, for everything kept about a repository.
const maxBytesPerBlob = 125

func TestMemoryPerBlobIsLimited(t *testing.T) {
	const layouts, tags = 2, 100
	built := layouttest.New(t, t.TempDir())
	for i := range layouts {
		l := built.Layout(fmt.Sprintf("modules/m%d", i))
		for j := range tags {
			l.Tag(l.Image(layouttest.Image{Name: fmt.Sprint(i, j), Layers: [][]byte{{byte(i), byte(j)}}}), fmt.Sprintf("v1.%d", j))
		}
		l.Write()
	}
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // a second run, to free values that had finalizers
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	open := func() *layoutstore.Tree {
		tree := openWith(t, layoutstore.Options{Sources: []string{built.Dir()}, Roots: []string{""}})
		check(t, tree)
		return tree
	}
	open() // the first run is not measured, because a process allocates some memory only once
	before := heap()
	tree := open()
	after := heap()
	per := (after - before) / (layouts * tags * 3)
	t.Logf("%d bytes per blob", per)
	if per > maxBytesPerBlob {
		t.Errorf("got %d bytes of memory per blob, want at most %d", per, maxBytesPerBlob)
	}
	runtime.KeepAlive(tree)
	runtime.KeepAlive(built)
}

// A check opens each manifest only once, even if many indexes refer to it.
func TestCheckReadsManifestsOnce(t *testing.T) {
	built := layouttest.New(t, t.TempDir())
	l := built.Layout("app")
	image := l.Image(layouttest.Image{Name: "image"})
	l.Tag(image, "image")
	l.Tag(l.Index(layouttest.Index{Children: []ocispec.Descriptor{image}}), "index")
	l.Tag(l.Index(layouttest.Index{Children: []ocispec.Descriptor{image, l.Image(layouttest.Image{Name: "child"})}}), "indexes")
	l.Write()
	var mu sync.Mutex
	opened := map[string]int{}
	tree := openWith(t, layoutstore.Options{Sources: []string{built.Dir()}, Roots: []string{""}, Opened: func(info fs.FileInfo) {
		mu.Lock()
		defer mu.Unlock()
		opened[info.Name()]++
	}})
	check(t, tree)
	delete(opened, "index.json")
	if len(opened) != 4 {
		t.Errorf("Check opened %d files, want 4: one per manifest", len(opened))
	}
	for name, n := range opened {
		if n != 1 {
			t.Errorf("Check opened %s %d times, want once", name, n)
		}
	}
}

// If a disk hangs, a scan hangs, too. Callers wait for the scan only until their context ends.
func TestCallersDoNotWaitForHangingScan(t *testing.T) {
	built := layouttest.New(t, t.TempDir())
	l := built.Layout("app")
	l.Tag(l.Image(layouttest.Image{}), "v1")
	l.Write()
	disk := newSlowDisk("")
	options := layoutstore.Options{Sources: []string{built.Dir()}, Roots: []string{""}, Opened: disk.opened}
	tree := openWith(t, options)
	disk.name.Store("index.json")
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := tree.Refresh(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	<-disk.opening
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tree.Reconfigure(ctx, options); !errors.Is(err, context.Canceled) {
		t.Errorf("Reconfigure: got error %v, want context.Canceled", err)
	}
	if err := tree.SaveCaches(ctx); err != nil {
		t.Fatal(err)
	}
	close(disk.release)
	<-done
}
