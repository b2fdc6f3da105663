package pull_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/pull/pulltest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// largestBlob returns the offset of the largest blob in an archive, and its digest in hexadecimal.
func largestBlob(t *testing.T, archive string) (at int64, hex string) {
	t.Helper()
	var size int64
	for _, p := range layouttest.Places(t, archive) {
		if n := p.End - p.Body; n > size && strings.Contains(p.Name, "blobs/") {
			at, hex, size = p.Body, filepath.Base(p.Name), n
		}
	}
	return at, hex
}

func sumOf(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	layouttest.Try(t, err)
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}

// A pull replaces an older archive if any of its content is damaged, even if the archive's name,
// size and indexes are right. The pull fetches the damaged content again, and writes no checksum of
// the damaged archive.
func TestDamagedArchivesAreReplaced(t *testing.T) {
	tree := varied(t)
	r, _ := pulltest.Serve(t, tree.Dir())
	first := pulltest.Options(t, r, "shop")
	first.Planner = pull.Repositories{Paths: []string{"app", "."}}
	pulltest.Run(t, first)
	archive := filepath.Join(first.Dir, "app.tar")
	want, err := os.ReadFile(archive)
	layouttest.Try(t, err)
	places := layouttest.Places(t, archive)
	blob, _ := largestBlob(t, archive)
	for name, test := range map[string]struct {
		at    int64
		blobs int // number of blobs that the pull fetches again, or -1 if any number is right
	}{
		"a blob": {blob + 100, 1},
		// The damage is in the checksum of the header, so the archive loses the entry.
		"a header":      {places[0].Header + 150, -1},
		"the last byte": {int64(len(want)) - 1, -1},
	} {
		for _, chunk := range []int64{0, 30_000} {
			t.Run(name, func(t *testing.T) {
				o := first
				o.Dir, o.ChunkSize, o.NewSum = t.TempDir(), chunk, nil
				pulltest.Run(t, o)
				file, at := filepath.Join(o.Dir, "app.tar"), test.at
				if chunk > 0 {
					file, at = filepath.Join(o.Dir, fmtChunk("app.tar", at/chunk)), at%chunk
				}
				pulltest.Flip(t, file, at)
				r.Forget()
				o.NewSum = sha256.New
				report := pulltest.Run(t, o)
				if !slices.Equal(report.Kept, []string{"root.tar"}) {
					t.Errorf("Kept = %q, want only root.tar", report.Kept)
				}
				if n := r.Kinds()["GET blobs"]; test.blobs >= 0 && n != test.blobs {
					t.Errorf("the pull fetched %d blobs, want %d", n, test.blobs)
				}
				if got := joinedFiles(t, o.Dir, "app.tar"); !bytes.Equal(got, want) {
					t.Error("the new archive differs from the one before the damage, want identical bytes")
				}
				sums, err := filepath.Glob(filepath.Join(o.Dir, "*.gostsum"))
				layouttest.Try(t, err)
				if len(sums) < 2 {
					t.Errorf("checksum files after the pull: %q, want at least 2", sums)
				}
				for _, s := range sums {
					text, err := os.ReadFile(s)
					layouttest.Try(t, err)
					if want := sumOf(t, strings.TrimSuffix(s, ".gostsum")); string(text) != want {
						t.Errorf("content of %s = %s, want %s", s, text, want)
					}
				}
				sameTree(t, tree.Dir(), o.Dir)
			})
		}
	}
}

func fmtChunk(archive string, n int64) string {
	return archive + ".000" + string(rune('0'+n)) + ".chunk"
}

// joinedFiles returns the bytes of an archive. It joins the chunks of a split archive.
func joinedFiles(t *testing.T, dir, archive string) (all []byte) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, archive+".????.chunk"))
	layouttest.Try(t, err)
	if len(names) == 0 {
		names = []string{filepath.Join(dir, archive)}
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		layouttest.Try(t, err)
		all = append(all, data...)
	}
	return all
}

// If a checksum file is wrong, a pull rewrites it, and keeps the archive.
func TestWrongChecksumFile(t *testing.T) {
	r, _ := pulltest.Serve(t, varied(t).Dir())
	o := pulltest.Options(t, r, "shop")
	o.Planner, o.NewSum = pull.Repositories{Paths: []string{"app"}}, sha256.New
	pulltest.Run(t, o)
	sum := filepath.Join(o.Dir, "app.tar.gostsum")
	layouttest.Try(t, os.WriteFile(sum, []byte("00"), 0o644))
	report := pulltest.Run(t, o)
	if !slices.Equal(report.Kept, []string{"app.tar"}) || !slices.Equal(report.Written, []string{"app.tar.gostsum"}) {
		t.Errorf("Kept = %q, Written = %q; want app.tar kept, and only app.tar.gostsum written", report.Kept, report.Written)
	}
	if text, err := os.ReadFile(sum); err != nil || string(text) != sumOf(t, filepath.Join(o.Dir, "app.tar")) {
		t.Errorf("app.tar.gostsum contains %s, error %v; want the checksum of app.tar", text, err)
	}
}

// Before a pull publishes an archive that an interrupted pull has staged, it verifies the archive.
func TestDamagedStagedArchive(t *testing.T) {
	tree := varied(t)
	r, _ := pulltest.Serve(t, tree.Dir())
	o := pulltest.Options(t, r, "shop")
	o.Planner = pull.Repositories{Paths: []string{"app"}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o.SetReached(func(point string) {
		if point == "staged" {
			cancel()
		}
	})
	if _, err := pull.Run(ctx, o, nil); err == nil {
		t.Fatal("the first pull returned no error, want one because it is interrupted")
	}
	staged := filepath.Join(o.Dir, ".tmp/layoutproxy/archives/app.tar")
	at, _ := largestBlob(t, staged)
	pulltest.Flip(t, staged, at+100)
	o.SetReached(nil)
	pulltest.Run(t, o)
	sameTree(t, tree.Dir(), o.Dir)
}

// A pull fetches the damaged blobs of a tree again. If another layout has an intact copy of a blob,
// the pull uses this copy instead.
func TestDamagedTree(t *testing.T) {
	tree := varied(t)
	r, _ := pulltest.Serve(t, tree.Dir())
	o := pulltest.Options(t, r, "shop")
	o.Planner, o.Tree = pull.Repositories{Paths: []string{"app", "."}}, true
	pulltest.Run(t, o)
	want := contents(t, o.Dir)
	var blobs []string
	for name := range want {
		if strings.Contains(name, "blobs/") {
			blobs = append(blobs, name)
		}
	}
	slices.Sort(blobs)
	wrong := map[string]bool{}
	for _, name := range blobs[:3] {
		pulltest.Flip(t, filepath.Join(o.Dir, name), 0)
		wrong[filepath.Base(name)] = true
	}
	r.Forget()
	pulltest.Run(t, o)
	for _, q := range r.Requests() {
		if hex := q.Path[strings.LastIndex(q.Path, ":")+1:]; q.Kind() == "GET blobs" && !wrong[hex] {
			t.Errorf("the pull fetched the intact blob %s again, want no request for it", hex)
		}
	}
	for name, body := range contents(t, o.Dir) {
		if body != want[name] {
			t.Errorf("after the pull, %s differs from the same file before the damage, want identical bytes", name)
		}
	}
	sameTree(t, tree.Dir(), o.Dir)
}

// A pull moves the blobs of a tree into place only after it has fetched all of them. Every user may
// read the blobs.
func TestTreeBlobsArePlacedLast(t *testing.T) {
	tree := varied(t)
	r, _ := pulltest.Serve(t, tree.Dir())
	o := pulltest.Options(t, r, "shop")
	o.Planner, o.Tree = pull.Repositories{Paths: []string{"app", "."}}, true
	reached := false
	o.SetReached(func(point string) {
		if point != "fetched all" {
			return
		}
		reached = true
		for name := range contents(t, o.Dir) {
			if !strings.HasPrefix(name, ".tmp/") {
				t.Errorf("at the point \"fetched all\", the bundle already has %s, want only files in .tmp", name)
			}
		}
	})
	pulltest.Run(t, o)
	if !reached {
		t.Error("the pull never reached the point \"fetched all\", want it reached once")
	}
	for name := range contents(t, o.Dir) {
		info, err := os.Stat(filepath.Join(o.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o444 != 0o444 {
			t.Errorf("mode of %s = %v; want a mode that lets every user read the file", name, info.Mode())
		}
	}
}
