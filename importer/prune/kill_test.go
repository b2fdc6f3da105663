package prune_test

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
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/importer/prune"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// way says how a prune removes images: at once, after a grace period, or by rewriting archives.
type way string

const (
	atOnce  way = "at once"
	later   way = "later" // removes only tags at first, and the images after the grace period
	rewrite way = "repack"
)

func ways() []way { return []way{atOnce, later, rewrite} }

// prune prunes a store, and sweeps it after the grace period. At each step of the prune and of the
// sweep, it calls the parameter before.
func (w way) prune(ctx context.Context, store string, before func(op, path string) error) error {
	now := time.Now().Add(24 * time.Hour)
	p, err := prune.New(prune.Options{Store: store, Before: before, Now: func() time.Time { return now }})
	if err != nil {
		return err
	}
	request := prune.Request{Policy: prune.Policy{KeepNewest: 1}, Repack: w == rewrite}
	if w == later {
		request.Grace = 15 * time.Minute
	}
	if _, err := p.Run(ctx, request); err != nil {
		return err
	}
	now = now.Add(15 * time.Minute)
	_, _, err = p.Sweep(ctx)
	return err
}

// newStore returns a store with versions in loose files and in two archives. A prune can rewrite one of the
// archives, and remove the other one.
func newStore(t *testing.T, modules int) string {
	t.Helper()
	store := filepath.Join(importertest.Scratch(t), "store")
	write := func(packed bool, versions ...string) {
		tree := layouttest.New(t, t.TempDir())
		for n := range modules {
			l := tree.Layout(fmt.Sprint("modules/m", n))
			for _, v := range versions {
				d := l.Image(layouttest.Image{Name: fmt.Sprint(n, v), LayerSizes: []int64{int64(3000 + n)}, Layers: [][]byte{[]byte("a layer that all images share")}})
				l.Tag(d, v)
				l.Tag(l.Image(layouttest.Image{Name: "signature", ArtifactType: "application/x-sig", Layers: [][]byte{[]byte(v)}}), "sha256-"+d.Digest.Encoded()+".sig")
			}
			l.Write()
		}
		i, err := importertest.NewWith(importer.Options{Store: store, KeepPacked: packed, Jobs: 1})
		importertest.Must(t, err)
		_, err = i.Import(t.Context(), importertest.Pack(t, tree))
		importertest.Must(t, err)
	}
	write(false, "v1.0.0", "v1.1.0")
	write(true, "v1.2.0", "v1.3.0")
	write(true, "v1.9.0", "v1.4.0")
	write(false, "v1.5.0", "v1.6.0")
	return store
}

// scene is a store to prune, with its content before and after the prune.
type scene struct {
	way
	store    string // the original, which never changes, as tests prune a copy
	old, new importertest.Content
	steps    int // number of steps of the prune
}

func newScene(t *testing.T, w way) scene {
	t.Helper()
	modules := 1
	if os.Getenv("LAYOUTPROXY_TEST_ALL") != "" {
		modules = 4 // the prunes of all scenes then have about 600 steps in total
	}
	s := scene{way: w, store: newStore(t, modules)}
	s.old = importertest.MustContent(t, s.store)
	pruned := importertest.Copied(t, s.store)
	importertest.Must(t, s.prune(t.Context(), pruned, func(op, path string) error {
		s.steps++
		return nil
	}))
	s.new = importertest.MustContent(t, pruned)
	if len(s.old)-len(s.new) < 8*modules || len(s.new) < 3*modules {
		t.Fatalf("the prune keeps %d of %d tags; want at least %d kept and %d removed", len(s.new), len(s.old), 3*modules, 8*modules)
	}
	t.Logf("%d steps", s.steps)
	return s
}

// sample returns about n step numbers of the prune, or all of them with LAYOUTPROXY_TEST_ALL=1.
func (s scene) sample(n int) (steps []int) {
	stride := max(1, s.steps/n)
	if os.Getenv("LAYOUTPROXY_TEST_ALL") != "" {
		stride = 1
	}
	for step := 1; step <= s.steps; step += stride {
		steps = append(steps, step)
	}
	return steps
}

// wantOldOrNew fails unless a store has exactly the old content or exactly the new content, with complete
// graphs. It reports whether the content is the new one.
func (s scene) wantOldOrNew(t *testing.T, what, store string) (isNew bool) {
	t.Helper()
	got := importertest.MustContent(t, store)
	if isNew = maps.Equal(got, s.new); !isNew && !maps.Equal(got, s.old) {
		importertest.Same(t, what+": the content is neither the old one nor the new one", got, s.new)
		t.FailNow()
	}
	return isNew
}

// wantCompleted prunes the store again. It fails unless the store then has exactly the new content and no
// other files.
func (s scene) wantCompleted(t *testing.T, what, store string) {
	t.Helper()
	if err := s.prune(t.Context(), store, nil); err != nil {
		t.Fatalf("%s: a second prune: got error %v, want none", what, err)
	}
	importertest.Same(t, what+": content after a second prune", importertest.MustContent(t, store), s.new)
	if left := importertest.Unfinished(t, store); len(left) > 0 {
		t.Errorf("%s: unfinished files after a second prune: %v, want none", what, left)
	}
	if want := importertest.Copied(t, s.store); !t.Failed() {
		importertest.Must(t, s.prune(t.Context(), want, nil))
		files, all := importertest.Files(t, store), importertest.Files(t, want)
		for name := range files {
			// A rewritten archive may have a different name, as the name contains the generation.
			if _, ok := all[name]; !ok && !strings.HasSuffix(name, ".tar") {
				t.Errorf("%s: after a second prune, the file %s still exists, want it removed", what, name)
			}
		}
		os.RemoveAll(filepath.Dir(want))
	}
}

// After a crash at any step of a prune, the store has either the old or the new content, and a second prune
// completes the work. The crash is simulated: the step and all later steps fail, which leaves the same files
// as kill -9.
func TestCrashAtEveryStepOfPrune(t *testing.T) {
	for _, w := range ways() {
		t.Run(string(w), func(t *testing.T) {
			t.Parallel() // mostly waits for the disk
			s := newScene(t, w)
			published := false
			for _, n := range s.sample(4) {
				published = s.endAt(t, n, published)
			}
			if !published {
				t.Error("after every simulated crash, the store had the old content; want the new content at least once")
			}
		})
	}
}

func (s scene) endAt(t *testing.T, n int, published bool) bool {
	t.Helper()
	store, step, at := importertest.Copied(t, s.store), 0, ""
	defer os.RemoveAll(filepath.Dir(store))
	err := s.prune(t.Context(), store, func(op, path string) error {
		if step++; step < n {
			return nil
		} else if step == n {
			at = op + " " + path
		}
		return errors.New("dead")
	})
	what := fmt.Sprintf("after a crash at step %d, %s", n, at)
	if err == nil {
		t.Fatalf("%s: the prune returned no error, want that of the simulated crash", what)
	}
	now := s.wantOldOrNew(t, what, store)
	if published && !now {
		t.Fatalf("%s: the store has the old content, want the new one, as after the crash at an earlier step", what)
	}
	if s.wantCompleted(t, what, store); t.Failed() {
		t.FailNow()
	}
	return now
}

// At each step of a prune, readers see either the old or the new content, never a mixture. After the new
// content, they never see the old one again. This is tested for a new reader, and for a reader that has
// opened the store earlier.
func TestReadersSeeOldOrNewContent(t *testing.T) {
	for _, w := range ways() {
		t.Run(string(w), func(t *testing.T) {
			t.Parallel() // mostly waits for the disk
			s := newScene(t, w)
			store := importertest.Copied(t, s.store)
			tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{store}, Indexes: []string{}})
			importertest.Must(t, err)
			step, published := 0, false
			look := func(at string) {
				now := s.wantOldOrNew(t, "before "+at, store)
				if published && !now {
					t.Fatalf("before %s: a reader sees the old content again, want the new content from now on", at)
				}
				published = now
				_, err := tree.Refresh(t.Context())
				importertest.Must(t, err)
				seen, err := importertest.ContentOfSnapshot(t.Context(), tree.Snapshot())
				if want := map[bool]importertest.Content{false: s.old, true: s.new}[now]; err != nil || !maps.Equal(seen, want) {
					importertest.Same(t, fmt.Sprintf("before %s: content seen by a reader that opened the store earlier (error %v)", at, err), seen, want)
					t.FailNow()
				}
			}
			stride := rounds(20, 1)
			importertest.Must(t, s.prune(t.Context(), store, func(op, path string) error {
				if step++; step%stride == 0 || op == "rename" {
					look(op + " " + path)
				}
				return nil
			}))
			if look("the end"); !published {
				t.Error("readers saw only the old content, want the new content at the end")
			}
		})
	}
}

// A prune succeeds even if the disk becomes full at any step and stays full until a file is removed.
func TestFullDiskAtEveryStepOfPrune(t *testing.T) {
	for _, w := range []way{atOnce, later} {
		t.Run(string(w), func(t *testing.T) {
			t.Parallel() // mostly waits for the disk
			s := newScene(t, w)
			for _, n := range s.sample(4) {
				s.noSpaceAt(t, n)
			}
		})
	}
}

func (s scene) noSpaceAt(t *testing.T, n int) {
	t.Helper()
	store, step, at, full := importertest.Copied(t, s.store), 0, "", false
	defer os.RemoveAll(filepath.Dir(store))
	err := s.prune(t.Context(), store, func(op, path string) error {
		if step++; step == n {
			full, at = true, op+" "+path
		}
		_, reserved := os.Stat(filepath.Join(store, ".layoutproxy", "reserve"))
		switch {
		case op == "remove":
			full = full && strings.HasPrefix(path, ".layoutproxy") // only removing a blob frees space
		case full && reserved == nil && (op == "create" || op == "write" || op == "mkdir"):
			return syscall.ENOSPC
		case full && (op == "create" || op == "write" || op == "mkdir") && path != "":
			full = false // the prune has removed the reserve, which frees space
		}
		return nil
	})
	what := fmt.Sprintf("with a full disk from step %d on, %s", n, at)
	if err != nil {
		t.Fatalf("%s: the prune returned the error %v, want none", what, err)
	}
	if !s.wantOldOrNew(t, what, store) {
		t.Fatalf("%s: after the prune, the store has the old content, want the new one", what)
	}
}

// TestKilledProcess kills a process at a step of a prune, and checks that a second prune completes the work.
// LAYOUTPROXY_TEST_ALL=1 tries 100 steps or more per way.
func TestKilledProcess(t *testing.T) {
	if work := os.Getenv("LAYOUTPROXY_TEST_VICTIM"); work != "" {
		die(t, strings.Split(work, "|"))
		return
	}
	for _, w := range ways() {
		t.Run(string(w), func(t *testing.T) {
			t.Parallel() // mostly waits for the disk
			s := newScene(t, w)
			stride := max(1, s.steps/rounds(1, 120))
			for n := 1 + stride/2; n <= s.steps; n += stride {
				s.killAt(t, n)
			}
		})
	}
}

func (s scene) killAt(t *testing.T, n int) {
	t.Helper()
	store := importertest.Copied(t, s.store)
	defer os.RemoveAll(filepath.Dir(store))
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledProcess$")
	cmd.Env = append(os.Environ(), "LAYOUTPROXY_TEST_VICTIM="+strings.Join([]string{string(s.way), store, strconv.Itoa(n)}, "|"))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("process at step %d: got error %v, want SIGKILL\n%s", n, err, out)
	}
	what := fmt.Sprintf("killed at step %d", n)
	s.wantOldOrNew(t, what, store)
	if s.wantCompleted(t, what, store); t.Failed() {
		t.FailNow()
	}
}

// die prunes a store, and kills its own process at a step. work contains the way, the store and the
// number of the step.
func die(t *testing.T, work []string) {
	at, err := strconv.Atoi(work[2])
	importertest.Must(t, err)
	step := 0
	err = way(work[0]).prune(t.Context(), work[1], func(string, string) error {
		if step++; step == at {
			return layouttest.KillSelf()
		}
		return nil
	})
	t.Fatalf("the prune made %d steps and returned error %v, want the process killed at step %d", step, err, at)
}
