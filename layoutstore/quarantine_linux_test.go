package layoutstore_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// quarantined is a tree with one quarantined blob, in its own file or in an archive.
type quarantined struct {
	options layoutstore.Options
	tree    *layoutstore.Tree
	digest  digest.Digest
	file    string // file that contains the blob
}

func quarantine(t *testing.T, archive bool) quarantined {
	t.Helper()
	built := layouttest.New(t, t.TempDir())
	l := built.Layout("app")
	body := []byte("a layer")
	l.Tag(l.Image(layouttest.Image{Layers: [][]byte{body}}), "v1")
	l.Write()
	q := quarantined{digest: digest.FromBytes(body)}
	q.file = l.BlobPath(q.digest)
	source := built.Dir()
	if archive {
		source = t.TempDir()
		q.file = filepath.Join(source, "app.tar")
		built.Archive(q.file, layouttest.Archive{})
	}
	q.options = layoutstore.Options{Sources: []string{source}, Roots: []string{""}, Indexes: []string{}, QuarantineDir: filepath.Join(t.TempDir(), "cache", "quarantine")}
	q.tree = openWith(t, q.options)
	repo, layout := q.repository(t)
	stamp, err := layout.Stamp(t.Context(), q.digest)
	if err != nil {
		t.Fatal(err)
	}
	if news, err := repo.Quarantine(t.Context(), layout, q.digest, stamp, "rotten"); err != nil || !news {
		t.Fatal("Quarantine of the first finding: want news and no error; error:", err)
	}
	return q
}

// restart opens the tree again, as a later process would.
func (q *quarantined) restart(t *testing.T) { q.tree = openWith(t, q.options) }

func (q quarantined) records(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(q.options.QuarantineDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (q quarantined) repository(t *testing.T) (*layoutstore.Repository, layoutstore.Layout) {
	t.Helper()
	repo, err := q.tree.Snapshot().At("app")
	if err != nil {
		t.Fatal(err)
	}
	return repo, repo.Layouts()[0]
}

// refused reports whether the blob is refused. A problem must report the blob if and only if it is
// refused.
func (q quarantined) refused(t *testing.T) bool {
	t.Helper()
	repo, _ := q.repository(t)
	_, err := repo.Blob(context.Background(), q.digest)
	told := slices.ContainsFunc(problemsOf(q.tree.Snapshot()), func(p layoutstore.Problem) bool { return p.Digest == q.digest && p.Reason == "rotten" })
	if refused := err != nil; refused != told {
		t.Errorf("Blob: got error %v, reported as a problem: %v; want an error if and only if it is reported", err, told)
	}
	return err != nil
}

// None of these ends a quarantine: a new link to the file, a new mode, a temporary absence of the
// file, or a request while the process cannot open files.
func TestQuarantineContinuesWithoutAChange(t *testing.T) {
	for _, archive := range []bool{false, true} {
		for name, disturb := range map[string]func(t *testing.T, q quarantined){
			"a link": func(t *testing.T, q quarantined) {
				if err := os.Link(q.file, filepath.Join(t.TempDir(), "link")); err != nil {
					t.Fatal(err)
				}
			},
			"a mode": func(t *testing.T, q quarantined) { chmod(t, q.file, 0o600) },
			"the file is missing for a while": func(t *testing.T, q quarantined) {
				if err := os.Rename(q.file, q.file+".away"); err != nil {
					t.Fatal(err)
				}
				repo, _ := q.repository(t)
				if _, err := repo.Blob(context.Background(), q.digest); err == nil && !archive {
					t.Error("Blob without its file: got no error, want one")
				}
				problemsOf(q.tree.Snapshot())
				if err := os.Rename(q.file+".away", q.file); err != nil {
					t.Fatal(err)
				}
			},
			"no file can be opened": func(t *testing.T, q quarantined) {
				repo, _ := q.repository(t)
				withoutFiles(t, func() {
					if _, err := repo.Blob(context.Background(), q.digest); err == nil {
						t.Error("Blob in quarantine while no file can be opened: got no error, want one")
					}
					problemsOf(q.tree.Snapshot())
				})
			},
		} {
			q := quarantine(t, archive)
			disturb(t, q)
			if !q.refused(t) {
				t.Errorf("archive %v, %s: the quarantined blob is served, want a refusal", archive, name)
			}
			refresh(t, q.tree)
			if !q.refused(t) {
				t.Errorf("archive %v, %s, after a rescan: the quarantined blob is served, want a refusal", archive, name)
			}
			q.restart(t)
			if !q.refused(t) {
				t.Errorf("archive %v, %s, after a restart: the quarantined blob is served, want a refusal", archive, name)
			}
		}
	}
}

// A quarantine ends after the file has changed, or after the blob has been verified.
func TestQuarantineEndsAfterAChange(t *testing.T) {
	for _, archive := range []bool{false, true} {
		for name, change := range map[string]func(t *testing.T, q quarantined){
			"another time": func(t *testing.T, q quarantined) {
				if err := os.Chtimes(q.file, time.Time{}, time.Unix(1, 0)); err != nil {
					t.Fatal(err)
				}
			},
			"another inode": func(t *testing.T, q quarantined) {
				info, err := os.Stat(q.file)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(q.file+".new", layouttest.ReadFile(t, q.file), 0o644); err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(os.Chtimes(q.file+".new", time.Time{}, info.ModTime()), os.Rename(q.file+".new", q.file)); err != nil {
					t.Fatal(err)
				}
			},
			"a proof": func(t *testing.T, q quarantined) {
				repo, layout := q.repository(t)
				stamp, err := layout.Stamp(t.Context(), q.digest)
				if err != nil {
					t.Fatal(err)
				}
				repo.Release(layout, q.digest, stamp+" of another state")
				if !q.refused(t) {
					t.Error("Release with the stamp of a different state: the blob is served, want a refusal")
				}
				repo.Release(layout, q.digest, stamp)
			},
		} {
			for _, down := range []bool{false, true} {
				q := quarantine(t, archive)
				change(t, q)
				if down {
					q.restart(t)
				} else {
					refresh(t, q.tree)
				}
				if q.refused(t) {
					t.Errorf("archive %v, %s: the blob is still refused, want it served", archive, name)
				}
				if err := q.tree.SaveCaches(t.Context()); err != nil {
					t.Fatal(err)
				}
				if left := q.records(t); len(left) > 0 {
					t.Errorf("archive %v, %s: got the records %v, want none", archive, name, left)
				}
				q.restart(t)
				if q.refused(t) {
					t.Errorf("archive %v, %s, after a restart: the blob is refused, want it served", archive, name)
				}
			}
		}
	}
}

// withoutFiles calls do while this process cannot open more files.
func withoutFiles(t *testing.T, do func()) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 0
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Error(err)
		}
	}()
	if f, err := os.Open("."); !errors.Is(err, syscall.EMFILE) {
		f.Close()
		t.Errorf("opening a file above the limit: got the error %v, want EMFILE", err)
	}
	do()
}
