package layoutstore_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

func appendTo(t *testing.T, file string, data []byte) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
}

func wantState(t *testing.T, tree *layoutstore.Tree, archive, want string) {
	t.Helper()
	if got := stateOf(t, tree, archive); got != want {
		t.Errorf("the archive %s has the state %s, want %s", filepath.Base(archive), got, want)
	}
}

// The settle time is an hour, so no archive counts as unchanged during the test.
func TestArchiveIsNotServedWhileItIsWritten(t *testing.T) {
	first, second, third := buildUsual(t, "first"), build(t, "second", "second"), buildUsual(t, "third")
	archive, other := pack(t, first), pack(t, second)
	dir := filepath.Dir(archive)
	arriving := filepath.Join(dir, "arriving.tar")
	options := archiveOptions(dir)
	options.Settle = time.Hour
	tree := openWith(t, options)
	// At the start, a complete archive is served, even if it was written a moment ago.
	wantAll(t, tree, contentOf(t, first))
	wantState(t, tree, archive, "ready")

	data := layouttest.ReadFile(t, other)
	appendTo(t, arriving, data[:len(data)/2])
	if change := refresh(t, tree); change.Again <= 0 || change.Again > time.Hour {
		t.Errorf("Refresh: got Again = %v, want more than 0 and at most 1 hour", change.Again)
	}
	wantState(t, tree, arriving, "waiting")
	wantAll(t, tree, contentOf(t, first))
	appendTo(t, arriving, data[len(data)/2:])
	refresh(t, tree)
	wantState(t, tree, arriving, "waiting")
	wantAll(t, tree, contentOf(t, first))

	// Replace a served archive, by a rename and in place.
	third.Archive(archive, layouttest.Archive{})
	refresh(t, tree)
	wantState(t, tree, archive, "waiting")
	wantServed(t, tree, contentOf(t, first), none)
	if found := problemsOf(tree.Snapshot()); len(found) > 0 {
		t.Errorf("waiting archive: got the problems %v, want none", found)
	}
	end := layouttest.Places(t, archive)
	chunks := layouttest.CutAt(t, archive, 10_001, end[len(end)-1].Header) // the last chunk contains an entry
	refresh(t, tree)
	wantState(t, tree, archive, "waiting")
	wantServed(t, tree, contentOf(t, third), none)

	// A process that starts now serves all complete archives.
	both := contentOf(t, third)
	for name, data := range contentOf(t, second) {
		both[name] = data
	}
	tree = openWith(t, options)
	wantAll(t, tree, both)

	// An incomplete archive that was written a moment ago is waiting.
	last := chunks[len(chunks)-1]
	rest := layouttest.ReadFile(t, last)
	if err := os.Remove(last); err != nil {
		t.Fatal(err)
	}
	tree = openWith(t, options)
	wantState(t, tree, archive, "waiting")
	wantAll(t, tree, contentOf(t, second))
	makeOld(t, chunks[:len(chunks)-1]...)
	tree = openWith(t, options)
	wantState(t, tree, archive, "incomplete")
	wantProblem(t, tree, layoutstore.Incomplete, archive, "")

	// Write a part of the last chunk.
	layouttest.WriteFile(t, last, rest[:len(rest)/2])
	refresh(t, tree)
	wantState(t, tree, archive, "waiting")
	wantAll(t, tree, contentOf(t, second))
}

// rescanUntil rescans until the archive has this state. Until then, nothing in the archive may be
// served.
func rescanUntil(t *testing.T, tree *layoutstore.Tree, archive, state string, have content) {
	t.Helper()
	for t.Context().Err() == nil {
		change := refresh(t, tree)
		got := stateOf(t, tree, archive)
		if got == state {
			return
		}
		if got != "waiting" {
			t.Fatalf("the archive %s has the state %s, want waiting or %s", archive, got, state)
		}
		wantServed(t, tree, have, none)
		if t.Failed() {
			t.Fatalf("see the errors above: they occurred while the archive had the state %s", got)
		}
		if change.Again <= 0 {
			t.Fatal("Refresh with a waiting archive: got Again = 0, want more")
		}
		time.Sleep(change.Again)
	}
}

func TestArchiveIsServedOnceUnchanged(t *testing.T) {
	for _, chunk := range []int64{0, 9000} {
		tree := buildUsual(t, "")
		have := contentOf(t, tree)
		packed := pack(t, tree)
		places := layouttest.Places(t, packed)
		data := layouttest.ReadFile(t, packed)
		files := []string{packed}
		if chunk > 0 {
			files = layouttest.Split(t, packed, chunk)
		}
		dir := t.TempDir()
		archive := filepath.Join(dir, "platform.tar")
		options := archiveOptions(dir)
		options.Settle = 200 * time.Millisecond
		opened := openWith(t, options)
		wantAll(t, opened, content{})

		// Write a part of the archive: all chunks but the last, or half of the file.
		half := int64(len(data) / 2)
		if chunk > 0 {
			half = startsOf(t, files)[len(files)-1]
		}
		if chunk > 0 {
			for _, file := range files[:len(files)-1] {
				layouttest.WriteFile(t, filepath.Join(dir, filepath.Base(file)), layouttest.ReadFile(t, file))
			}
		} else {
			layouttest.WriteFile(t, archive, data[:half])
		}
		rescanUntil(t, opened, archive, "incomplete", have)
		wantServed(t, opened, have, readableWithout(places, have, half, never))
		wantProblem(t, opened, layoutstore.Incomplete, archive, "")

		// Write the rest with modification times in the past or in the future, as cp -p does.
		end := filepath.Join(dir, filepath.Base(files[len(files)-1]))
		appendTo(t, end, data[half:])
		if chunk > 0 {
			ahead := time.Now().Add(time.Hour)
			if err := os.Chtimes(end, ahead, ahead); err != nil {
				t.Fatal(err)
			}
		} else {
			makeOld(t, end)
		}
		rescanUntil(t, opened, archive, "ready", have)
		wantAll(t, opened, have)
		if change := refresh(t, opened); change.Changed || change.Again != 0 {
			t.Errorf("Refresh without a change = %+v, want Changed = false and Again = 0", change)
		}
	}
}

func TestArchiveReplacedAndRemoved(t *testing.T) {
	one, two, loose := buildUsual(t, "one"), buildUsual(t, "two"), build(t, "loose", "loose")
	for _, chunk := range []int64{0, 9000} {
		archive := pack(t, one)
		dir := filepath.Dir(archive)
		if err := os.CopyFS(filepath.Join(dir, "loose"), os.DirFS(filepath.Join(loose.Dir(), "loose"))); err != nil {
			t.Fatal(err)
		}
		options := archiveOptions(dir)
		options.CacheDir = t.TempDir()
		opened := openWith(t, options)
		with := func(tree *layouttest.Tree) content {
			have := contentOf(t, loose)
			for name, data := range contentOf(t, tree) {
				have[name] = data
			}
			return have
		}
		wantAll(t, opened, with(one))
		before := repository(t, opened, repositoryName("install"))
		kept := repository(t, opened, repositoryName("loose"))

		two.Archive(archive, layouttest.Archive{})
		files := []string{archive}
		if chunk > 0 {
			files = layouttest.Split(t, archive, chunk)
		}
		if change := refresh(t, opened); !change.Changed {
			t.Errorf("Refresh after an archive was replaced = %+v, want Changed = true", change)
		}
		wantAll(t, opened, with(two))
		if repository(t, opened, repositoryName("loose")) != kept {
			t.Error("Refresh replaced an unchanged repository, want it reused")
		}
		// A request that began before the change gets the old content or an error.
		for name := range contentOf(t, one) {
			if layout, d, ok := blobAt(name); ok && layout == "install" {
				_ = readFrom(t, before, d)
			}
		}
		if change := refresh(t, opened); change.Changed {
			t.Errorf("Refresh without a change = %+v, want Changed = false", change)
		}
		for _, file := range files {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
		refresh(t, opened)
		wantAll(t, opened, contentOf(t, loose))
	}
}

// While an archive is replaced again and again, readers get correct content or an error.
func TestArchivesChangeUnderReaders(t *testing.T) {
	one, two := build(t, "one", "install"), build(t, "two", "install")
	archive := pack(t, one)
	opened := openWith(t, archiveOptions(filepath.Dir(archive)))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			r, err := opened.Snapshot().Repository(repositoryName("install"))
			if err != nil {
				t.Error(err)
				return
			}
			for _, tree := range []*layouttest.Tree{one, two} {
				for name := range contentOf(t, tree) {
					if _, d, ok := blobAt(name); ok {
						_ = readFrom(t, r, d)
					}
				}
			}
		}
	}()
	for i := range 20 {
		[]*layouttest.Tree{two, one}[i%2].Archive(archive, layouttest.Archive{})
		refresh(t, opened)
	}
	close(stop)
	<-done
	wantAll(t, opened, contentOf(t, one))
}
