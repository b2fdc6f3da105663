//go:build !windows

package layoutstore_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// child is an environment variable that marks the child process in which a test runs.
const child = "LAYOUTPROXY_TEST_CHILD"

// apart reports whether this process should run the test. In the first process, it runs the test in
// a child process and returns false. File modes limit the child even if root runs the tests.
func apart(t *testing.T) bool {
	t.Helper()
	if os.Getenv(child) != "" {
		return true
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "test")
	if err := os.WriteFile(program, layouttest.ReadFile(t, os.Args[0]), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), child+"=1", "GORACE=atexit_sleep_ms=0") // otherwise, the race detector sleeps for a second at exit
	if os.Getuid() == 0 {
		const nobody = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("the test fails in the child process: %v\n%s", err, out)
	}
	return false
}

func chmod(t *testing.T, file string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
}

// If an archive becomes unreadable, its last state is still served, and each scan reports this.
func TestUnreadableArchiveKeepsLastState(t *testing.T) {
	if !apart(t) {
		return
	}
	for _, chunk := range []int64{0, 9000} {
		tree := buildUsual(t, "")
		archive := pack(t, tree)
		file := archive
		if chunk > 0 {
			file = layouttest.Split(t, archive, chunk)[1]
		}
		options := archiveOptions(filepath.Dir(archive))
		options.Settle = time.Hour
		opened := openWith(t, options)
		tags := served(t, opened)
		chmod(t, file, 0)
		if change := refresh(t, opened); !change.Changed {
			t.Error("Refresh after the archive became unreadable: got Changed = false, want true")
		}
		wantFailing(t, opened, archive, tags)
		chmod(t, file, 0o644)
		refresh(t, opened)
		wantState(t, opened, archive, "ready")
		wantAll(t, opened, contentOf(t, tree))
	}
}

// wantFailing checks that an archive is reported as unreadable, but keeps its tags, even after
// another scan.
func wantFailing(t *testing.T, opened *layoutstore.Tree, archive string, tags []string) {
	t.Helper()
	for range 2 {
		wantState(t, opened, archive, "failing")
		wantProblem(t, opened, layoutstore.Damaged, archive, "permission denied")
		if got := served(t, opened); !slices.Equal(got, tags) {
			t.Errorf("got tags %q, want %q", got, tags)
		}
		if change := refresh(t, opened); change.Changed || change.Again != 0 {
			t.Errorf("Refresh without a change = %+v, want Changed = false and Again = 0", change)
		}
	}
}

func TestUnreadableArchiveAtStart(t *testing.T) {
	if !apart(t) {
		return
	}
	tree := buildUsual(t, "")
	archive := pack(t, tree)
	chmod(t, archive, 0)
	options := archiveOptions(filepath.Dir(archive))
	options.Settle = time.Hour
	opened := openWith(t, options)
	wantFailing(t, opened, archive, nil)
	chmod(t, archive, 0o644)
	refresh(t, opened)
	wantState(t, opened, archive, "ready")
	wantAll(t, opened, contentOf(t, tree))
}

// If an archive was replaced by an unreadable one, its last state is no longer served.
func TestArchiveReplacedByUnreadableOne(t *testing.T) {
	if !apart(t) {
		return
	}
	archive := pack(t, buildUsual(t, "one"))
	opened := openWith(t, archiveOptions(filepath.Dir(archive)))
	other := pack(t, buildUsual(t, "two"))
	chmod(t, other, 0)
	rename(t, other, archive)
	refresh(t, opened)
	wantState(t, opened, archive, "failing")
	if got := served(t, opened); len(got) > 0 {
		t.Errorf("replaced archive: got the tags %v, want none", got)
	}
}

func TestUnreadableSourceKeepsLastState(t *testing.T) {
	if !apart(t) {
		return
	}
	archive := pack(t, buildUsual(t, ""))
	dir := filepath.Dir(archive)
	for _, source := range []string{dir, archive} {
		opened := openWith(t, archiveOptions(source))
		tags := served(t, opened)
		chmod(t, dir, 0)
		refresh(t, opened)
		wantProblem(t, opened, layoutstore.Damaged, source, "the last good state is still served")
		for _, s := range opened.Snapshot().Sources() {
			if s.State != "failing" {
				t.Errorf("source %s: got the state %s, want failing", s.Path, s.State)
			}
		}
		if got := served(t, opened); len(got) != len(tags) {
			t.Errorf("got %d served tags, want %d", len(got), len(tags))
		}
		chmod(t, dir, 0o755)
		refresh(t, opened)
		wantState(t, opened, archive, "ready")
	}
}

// If the process has run out of open files, the last state of archives is still served.
func TestArchivesAreServedWithoutFreeFileHandles(t *testing.T) {
	if !apart(t) {
		return
	}
	archive := pack(t, buildUsual(t, "one"))
	opened := openWith(t, archiveOptions(filepath.Dir(archive)))
	before := opened.Snapshot()
	rename(t, pack(t, buildUsual(t, "two")), archive)
	var taken []*os.File
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 64, Max: 64}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, f := range taken {
			f.Close()
		}
	})
	for {
		f, err := os.Open("/dev/null")
		if err != nil {
			break
		}
		taken = append(taken, f)
	}
	// With a few free file handles, a scan can read the directory, but not the archive in it.
	for free := range len(taken) {
		_, err := opened.Refresh(context.Background())
		if err == nil {
			if free == 0 {
				t.Error("Refresh without a free file handle: got no error, want one")
			}
			break
		}
		if !layoutstore.IsExhausted(err) || opened.Snapshot() != before {
			t.Errorf("Refresh with %d free file handles: got error %v, want one for which IsExhausted is true; snapshot replaced: %v, want false", free, err, opened.Snapshot() != before)
		}
		taken[free].Close()
	}
	if found := problemsOf(opened.Snapshot()); len(found) > 0 {
		t.Errorf("got the problems %v, want none", found)
	}
}

// A cache directory that cannot be written is still read.
func TestReadOnlyCacheIsRead(t *testing.T) {
	if !apart(t) {
		return
	}
	options, have := cachedBundle(t)
	wantAll(t, openAndSave(t, options), have)
	filled := options.CacheDir
	t.Cleanup(func() { chmod(t, filled, 0o755) })
	chmod(t, filled, 0o555)
	files := cacheFiles(t, options)
	for _, file := range files {
		wantAll(t, openAndSave(t, options), have)
		chmod(t, file, 0)
		wantAll(t, openAndSave(t, options), have)
	}
	empty := t.TempDir()
	chmod(t, empty, 0o555)
	options.CacheDir = empty
	wantAll(t, openAndSave(t, options), have)
	if _, err := os.Create(filepath.Join(empty, "file")); !errors.Is(err, os.ErrPermission) {
		t.Errorf("Create in the read-only cache: got error %v, want ErrPermission", err)
	}
}
