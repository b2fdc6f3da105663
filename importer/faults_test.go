package importer_test

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// scene is a store with the old bundle, and the new bundle to import into it.
type scene struct {
	store, bundle string // not to be changed
	old, new      content
	steps         int // of the import
	commits       int // the step from which on only the journal counts: the first index gets its place
}

func newScene(t *testing.T) scene {
	t.Helper()
	old, bundle := oldBundle(t), newBundle(t)
	s := scene{store: filepath.Join(scratch(t), "store"), bundle: bundle}
	imported(t, s.store, old)
	s.old = mustContent(t, s.store)
	s.new = s.old.over(mustContent(t, bundle))
	if maps.Equal(s.old, s.new) {
		t.Fatal("the new bundle changes nothing")
	}
	i := newImporter(t, copied(t, s.store))
	i.Before(func(op, path string) error {
		if s.steps++; s.commits == 0 && op == "rename" && strings.HasSuffix(path, "index.json") {
			s.commits = s.steps
		}
		return nil
	})
	if _, err := i.Import(t.Context(), bundle); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d steps, published from step %d on", s.steps, s.commits)
	if s.steps < 200 || s.commits == 0 {
		t.Fatalf("an import of %d steps proves little", s.steps)
	}
	return s
}

// sample is some steps of the import, or all with LAYOUTPROXY_TEST_ALL=1: always the
// last ones, in which it is published.
func (s scene) sample(n int) (steps []int) {
	stride := max(1, s.steps/n)
	if os.Getenv("LAYOUTPROXY_TEST_ALL") != "" {
		stride = 1
	}
	for step := 1; step <= s.steps; step++ {
		if step%stride == 0 || s.steps-step < n/2 {
			steps = append(steps, step)
		}
	}
	return steps
}

// oldOrNew fails unless a store holds one of both, wholly, and says whether it is the new one.
func (s scene) oldOrNew(t *testing.T, store string) bool {
	t.Helper()
	got := mustContent(t, store)
	if !maps.Equal(got, s.old) && !maps.Equal(got, s.new) {
		same(t, "neither the old tree nor the new one, which is", got, s.new)
		t.FailNow()
	}
	return maps.Equal(got, s.new)
}

// completes imports once more and fails unless all is there then and nothing beside it.
func (s scene) completes(t *testing.T, store string) {
	t.Helper()
	imported(t, store, s.bundle)
	same(t, "after a second import", mustContent(t, store), s.new)
	if left := stands(t, store); len(left) > 0 {
		t.Errorf("a second import leaves %v", left)
	}
}

// A process that ends at any step leaves the old tree or the new one, and another
// import completes it. Here it ends by failing in that step and in all later ones,
// which leaves the same files and takes no time.
func TestEndAtEveryStep(t *testing.T) {
	s := newScene(t)
	published := false
	for _, n := range s.sample(24) {
		store, step := copied(t, s.store), 0
		i := newImporter(t, store)
		var at string
		i.Before(func(op, path string) error {
			if step++; step < n {
				return nil
			}
			if step == n {
				at = op + " " + path
			}
			return errors.New("dead")
		})
		if _, err := i.Import(t.Context(), s.bundle); err == nil {
			t.Fatalf("step %d, %s: the import succeeds", n, at)
		}
		if now := s.oldOrNew(t, store); published && !now {
			t.Fatalf("step %d, %s: the old tree, though it was the new one a step earlier", n, at)
		} else if published = now; t.Failed() {
			t.Fatalf("step %d, %s", n, at)
		}
		if s.completes(t, store); t.Failed() {
			t.Fatalf("step %d, %s", n, at)
		}
	}
	if !published {
		t.Error("the new tree is not seen before the last step")
	}
}

// A full disk at any step leaves the tree as it was and staging empty, up to the
// step from which on only the journal counts.
func TestNoSpaceAtEveryStep(t *testing.T) {
	s := newScene(t)
	before := files(t, s.store)
	for _, n := range s.sample(24) {
		store, step := copied(t, s.store), 0
		i := newImporter(t, store)
		var at string
		i.Before(func(op, path string) error {
			if step++; step != n {
				return nil
			}
			at = op + " " + path
			return syscall.ENOSPC
		})
		_, err := i.Import(t.Context(), s.bundle)
		if !errors.Is(err, syscall.ENOSPC) {
			if err != nil || !mendable(at) || !s.oldOrNew(t, store) {
				t.Fatalf("step %d, %s: %v", n, at, err)
			}
			continue // something that is tried only, or done another way
		}
		if n < s.commits {
			if got := files(t, store); !maps.Equal(got, before) && !strings.HasPrefix(at, "remove") {
				t.Fatalf("step %d, %s: the tree or staging is another one: %v, %v", n, at, stands(t, store), err)
			}
		}
		s.oldOrNew(t, store)
		if s.completes(t, store); t.Failed() {
			t.Fatalf("step %d, %s: %v", n, at, err)
		}
	}
}

// mendable says of a step whether an import may succeed without it. What is left of an
// earlier one is removed at the beginning, if there is nothing in it.
func mendable(step string) bool {
	return step == "remove .layoutproxy/staging" || strings.Contains(step, "/tmp/") || strings.HasSuffix(step, "/tmp")
}

// TestKilled kills a process at steps of an import while readers look, and has
// another process complete it. LAYOUTPROXY_TEST_ALL=1 does so at every step.
func TestKilled(t *testing.T) {
	if work := os.Getenv("LAYOUTPROXY_TEST_VICTIM"); work != "" {
		die(t, strings.Split(work, "|"))
		return
	}
	s := newScene(t)
	for _, n := range s.sample(8) {
		store := copied(t, s.store)
		stop := s.watch(t, store)
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), "LAYOUTPROXY_TEST_VICTIM="+store+"|"+s.bundle+"|"+strconv.Itoa(n))
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("step %d: the process was to be killed: %v\n%s", n, err, out)
		}
		s.oldOrNew(t, store)
		s.completes(t, store)
		if stop(); t.Failed() {
			t.Fatalf("step %d", n)
		}
	}
}

// die imports and is killed at a step.
func die(t *testing.T, work []string) {
	at, err := strconv.Atoi(work[2])
	if err != nil {
		t.Fatal(err)
	}
	i := newImporter(t, work[0])
	step := 0
	i.Before(func(string, string) error {
		if step++; step == at {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return nil
	})
	_, err = i.Import(t.Context(), work[1])
	t.Fatalf("still alive after %d steps: %v", step, err)
}

// watch reads a store again and again, and fails where it is neither the old one nor
// the new one, or goes back. The function it returns ends that.
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
				last = true // one look after the end
			default:
			}
			if _, err := tree.Refresh(t.Context()); err != nil {
				t.Errorf("a reader: %v", err)
				return
			}
			got, err := contentOfSnapshot(t.Context(), tree.Snapshot())
			switch {
			case err != nil:
				t.Errorf("a reader: %v", err)
				return
			case maps.Equal(got, s.new):
				published = true
			case published, last, !maps.Equal(got, s.old):
				same(t, "a reader", got, s.new)
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}
