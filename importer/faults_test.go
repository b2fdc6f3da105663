package importer_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/drop"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// way is a way to import a bundle: unpacked, packed or from a drop directory.
type way string

const (
	unpacked way = "loose"
	packed   way = "packed"
	dropped  way = "drop"
)

func ways() []way { return []way{unpacked, packed, dropped} }

// importFrom imports the bundle at dir into a store. At each step, it calls the parameter before.
// If dir is in a drop directory, importFrom returns the reported state of the bundle as its error.
func (w way) importFrom(ctx context.Context, store, dir string, before func(op, path string) error) error {
	i, err := importertest.NewWith(importer.Options{Store: store, KeepPacked: w == packed, Jobs: 1})
	if err != nil {
		return err
	}
	i.Before(before)
	if w != dropped {
		_, err := i.Import(ctx, dir)
		return err
	}
	now := time.Now().Add(time.Hour)
	d, err := i.NewDrop(drop.Options{Dir: filepath.Dir(dir), Settle: time.Second, Now: func() time.Time { return now }})
	if err != nil {
		return err
	}
	for range 2 {
		if _, _, err := d.Scan(ctx); err != nil {
			return err
		}
		now = now.Add(time.Second)
	}
	for _, s := range d.Status() {
		switch {
		case s.State == "published":
		case strings.Contains(s.Detail, syscall.ENOSPC.Error()):
			return fmt.Errorf("%s: %w", s.Detail, syscall.ENOSPC)
		default:
			return errors.New(s.Detail)
		}
	}
	return nil
}

// scene is a store that contains the old bundle, and the new bundle that is imported into it.
type scene struct {
	way
	store, bundle string // tests import a copy of the bundle into a copy of the store
	old, new      importertest.Content
	steps         int
	// commits is the step that moves the first index or archive into place. From this step on, the
	// journal completes the import after a crash.
	commits int
}

func newScene(t *testing.T, w way) scene {
	t.Helper()
	s := scene{way: w, store: filepath.Join(importertest.Scratch(t), "store"), bundle: importertest.NewBundle(t)}
	importertest.Imported(t, s.store, importertest.OldBundle(t))
	s.old = importertest.MustContent(t, s.store)
	s.new = s.old.Over(importertest.MustContent(t, s.bundle))
	if maps.Equal(s.old, s.new) {
		t.Fatal("the new bundle adds nothing to the old one, so the test proves nothing")
	}
	err := s.importFrom(t.Context(), importertest.Copied(t, s.store), s.fresh(t), func(op, path string) error {
		_, archive := volume.IsArchive(path)
		if s.steps++; s.commits == 0 && op == "rename" && (strings.HasSuffix(path, "index.json") || archive) {
			s.commits = s.steps
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the import has %d steps, and publishes from step %d on", s.steps, s.commits)
	if s.steps < 20 || s.commits == 0 || w != packed && s.steps < 200 {
		t.Fatalf("the import has %d steps, want at least 20 if it is packed, otherwise 200; it publishes from step %d on, want at least 1", s.steps, s.commits)
	}
	return s
}

// fresh returns a directory with the bundle, which the import may empty.
func (s scene) fresh(t *testing.T) string {
	t.Helper()
	if s.way == unpacked {
		return s.bundle
	}
	return importertest.Copied(t, s.bundle)
}

// sample returns the numbers of some steps of the import, or of every step if
// LAYOUTPROXY_TEST_ALL=1. It always includes the last steps, which publish.
func (s scene) sample(n int) (steps []int) {
	stride := max(1, s.steps/n)
	if os.Getenv("LAYOUTPROXY_TEST_ALL") != "" {
		stride = 1
	} else if s.way != unpacked {
		n /= 2
		stride *= 2
	}
	for step := 1; step <= s.steps; step++ {
		if step%stride == 0 || s.steps-step < n/2 {
			steps = append(steps, step)
		}
	}
	return steps
}

// oldOrNew fails the test unless a store has exactly the old or exactly the new content. It reports
// whether the content is the new one.
func (s scene) oldOrNew(t *testing.T, store string) bool {
	t.Helper()
	got := importertest.MustContent(t, store)
	if !maps.Equal(got, s.old) && !maps.Equal(got, s.new) {
		importertest.Same(t, "the store has neither the old nor the new content; compared with the new:", got, s.new)
		t.FailNow()
	}
	return maps.Equal(got, s.new)
}

// completes imports the rest of the bundle, and fails the test unless the store has the new
// content.
func (s scene) completes(t *testing.T, store, bundle string) {
	t.Helper()
	if len(archives(t, bundle)) > 0 {
		if err := s.importFrom(t.Context(), store, bundle, nil); err != nil {
			t.Errorf("the second import failed: %v", err)
		}
		if left := importertest.Unfinished(t, store); len(left) > 0 {
			t.Errorf("unfinished files in the store after the second import: got %v, want none", left)
		}
	} else if i := importertest.New(t, store); i.Recover(t.Context()) != nil {
		t.Error("Recover failed, want it to complete the import, because the bundle no longer contains the archives")
	}
	importertest.Same(t, "the store after the second import", importertest.MustContent(t, store), s.new)
	if left := archives(t, bundle); s.way != unpacked && len(left) > 0 {
		t.Errorf("archives in the bundle after the second import: got %v, want none", left)
	}
}

func archives(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "*.tar"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// If a process ends at any step of an import, the store has the old or the new tree, and a second
// import finishes the work. The test makes this step and all later ones fail. The files are then
// the same as after a kill, but the test takes less time.
func TestImportThatEndsAtAnyStep(t *testing.T) {
	for _, w := range ways() {
		t.Run(string(w), func(t *testing.T) {
			t.Parallel()
			s := newScene(t, w)
			published := false
			for _, n := range s.sample(6) {
				published = s.endAt(t, n, published)
			}
			if !published {
				t.Error("the store had the old tree after every tested step, want the new tree after the last steps")
			}
		})
	}
}

// endAt ends an import at its nth step, and reports whether the new tree was published by then.
func (s scene) endAt(t *testing.T, n int, published bool) bool {
	t.Helper()
	store, bundle, step, at, last := importertest.Copied(t, s.store), s.fresh(t), 0, "", ""
	err := s.importFrom(t.Context(), store, bundle, func(op, path string) error {
		if step++; step <= n {
			last, at = at, op+" "+path
		}
		if step < n {
			return nil
		}
		return errors.New("dead")
	})
	if err == nil && !optional(last, at) {
		t.Fatalf("step %d, %s: the import succeeded, want an error", n, at)
	}
	now := s.oldOrNew(t, store)
	if published && !now {
		t.Fatalf("step %d, %s: the store has the old tree, want the new one, as after an earlier step", n, at)
	}
	if err == nil {
		// The import succeeded, but the bundle stayed in the drop directory. It will not be
		// imported again.
		return now
	}
	if s.completes(t, store, bundle); t.Failed() {
		t.Fatalf("step %d, %s: see the errors above", n, at)
	}
	return now
}

// If the disk fills up before the import moves an index or archive into place, the tree stays as it
// was and staging is empty.
func TestNoSpaceAtEveryStep(t *testing.T) {
	for _, w := range ways() {
		t.Run(string(w), func(t *testing.T) {
			t.Parallel()
			s := newScene(t, w)
			before := importertest.Files(t, s.store)
			for _, n := range s.sample(6) {
				s.noSpaceAt(t, n, before)
			}
		})
	}
}

func (s scene) noSpaceAt(t *testing.T, n int, before map[string]int64) {
	t.Helper()
	store, bundle, step, at, last := importertest.Copied(t, s.store), s.fresh(t), 0, "", ""
	err := s.importFrom(t.Context(), store, bundle, func(op, path string) error {
		if step++; step <= n {
			last, at = at, op+" "+path
		}
		if step != n {
			return nil
		}
		return syscall.ENOSPC
	})
	if !errors.Is(err, syscall.ENOSPC) {
		if err != nil || !optional(last, at) || !s.oldOrNew(t, store) {
			t.Fatalf("step %d, %s: got error %v, want ENOSPC", n, at, err)
		}
		return // the import can succeed without this step
	}
	if n < s.commits {
		if got := importertest.Files(t, store); !maps.Equal(got, before) && !strings.HasPrefix(at, "remove") {
			t.Fatalf("step %d, %s: got a changed tree or files in staging after the failed import, want neither; staging %v, error %v", n, at, importertest.Unfinished(t, store), err)
		}
		if s.way == packed && len(archives(t, bundle)) != len(archives(t, s.bundle)) {
			t.Fatalf("step %d, %s: the failed import removed an archive from the bundle, want all of them kept", n, at)
		}
	}
	s.oldOrNew(t, store)
	if s.completes(t, store, bundle); t.Failed() {
		t.Fatalf("step %d, %s: the error was %v; see the errors above", n, at, err)
	}
}

// optional reports whether an import may succeed although a step fails. Such a step removes empty
// directories of an earlier import, or moves a bundle out of a drop directory. If the move fails,
// the bundle stays in the drop directory and is reported. last is the previous step.
func optional(last, step string) bool {
	if strings.Contains(step, "/dropped.json") || strings.Contains(last, "/dropped.json") && step == "fsync .layoutproxy" {
		return true
	}
	return step == "remove .layoutproxy/staging" || strings.Contains(step, " dropped ") || strings.HasPrefix(step, "remove packed ") || step == "remove .layoutproxy/outgoing-packed" || strings.Contains(step, "/tmp/") || strings.HasSuffix(step, "/tmp")
}

// TestKilledImports kills a process at some steps of an import while readers read the store. Another
// process then completes the import. With LAYOUTPROXY_TEST_ALL=1, it kills a process at every step.
func TestKilledImports(t *testing.T) {
	if work := os.Getenv("LAYOUTPROXY_TEST_VICTIM"); work != "" {
		die(t, strings.Split(work, "|"))
		return
	}
	for _, w := range ways() {
		t.Run(string(w), func(t *testing.T) {
			t.Parallel()
			s := newScene(t, w)
			for _, n := range s.sample(3) {
				s.killAt(t, n)
			}
		})
	}
}

func (s scene) killAt(t *testing.T, n int) {
	t.Helper()
	store, bundle := importertest.Copied(t, s.store), s.fresh(t)
	stop := s.watch(t, store)
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledImports$")
	cmd.Env = append(os.Environ(), "LAYOUTPROXY_TEST_VICTIM="+strings.Join([]string{string(s.way), store, bundle, strconv.Itoa(n)}, "|"))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("step %d: the process ended with %v, want SIGKILL; its output:\n%s", n, err, out)
	}
	s.oldOrNew(t, store)
	s.completes(t, store, bundle)
	if stop(); t.Failed() {
		t.Fatalf("step %d", n)
	}
}

// die runs in the process to be killed. It imports a bundle, and kills its process at the given step.
func die(t *testing.T, work []string) {
	at, err := strconv.Atoi(work[3])
	if err != nil {
		t.Fatal(err)
	}
	step := 0
	err = way(work[0]).importFrom(t.Context(), work[1], work[2], func(string, string) error {
		if step++; step == at {
			return layouttest.KillSelf()
		}
		return nil
	})
	t.Fatalf("the process is still alive after %d steps and import error %v, want it killed", step, err)
}

// watch reads a store repeatedly until stop is called. It fails the test unless it sees the old
// content and then the new content.
func (s scene) watch(t *testing.T, store string) (stop func()) {
	t.Helper()
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{store}, Indexes: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for published, last := false, false; !last; {
			select {
			case <-done:
				last = true // read once more after the end of the import
			default:
			}
			if _, err := tree.Refresh(t.Context()); err != nil {
				t.Errorf("a reader cannot rescan the store: %v", err)
				return
			}
			got, err := importertest.ContentOfSnapshot(t.Context(), tree.Snapshot())
			switch {
			case errors.Is(err, layoutstore.ErrStale) && !last: // a server would rescan and try again
			case err != nil:
				t.Errorf("a reader cannot read the store: %v", err)
				return
			case maps.Equal(got, s.new):
				published = true
			case published, last, !maps.Equal(got, s.old):
				importertest.Same(t, "a reader", got, s.new)
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}
