package verify_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/importer/gather"
	"github.com/layoutproxy/layoutproxy/importer/verify"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/buckettest"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

const place = "s3://" + buckettest.Bucket + "/p"

func upload(t *testing.T, s *buckettest.Server, dir string) {
	t.Helper()
	layouttest.Try(t, filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			s.Write(t, "p"+filepath.ToSlash(strings.TrimPrefix(name, dir)), read(t, name))
		}
		return err
	}))
}

func runInBucket(t *testing.T, s *buckettest.Server, sources ...string) *verify.Report {
	t.Helper()
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: sources, Buckets: s.Readers(t)})
	layouttest.Try(t, err)
	report, err := verify.Run(t.Context(), tree.Snapshot(), verify.Options{Jobs: 2})
	layouttest.Try(t, err)
	return report
}

// flipPadding changes a byte in the padding of an archive, which is outside of all headers and entries.
func flipPadding(t *testing.T, file string) {
	t.Helper()
	data := read(t, file)
	for at := int64(0); at < int64(len(data)); {
		size, err := strconv.ParseInt(strings.Trim(string(data[at+124:at+136]), " \x00"), 8, 64)
		layouttest.Try(t, err)
		if at += 512 + size; size%512 != 0 {
			data[at] ^= 1
			layouttest.Try(t, os.WriteFile(file, data, 0o644))
			return
		}
	}
	t.Fatal("no padding")
}

// bundleWithChecksums makes a bundle with an archive, an archive in chunks, and layouts. It has correct
// checksum files of all kinds.
func bundleWithChecksums(t *testing.T) (dir string) {
	t.Helper()
	dir, chunks := bundle(t)
	loose := newSample(t, filepath.Join(dir, "loose"))
	layer, err := filepath.Rel(dir, loose.install.BlobPath(loose.digests["one.layer1"]))
	layouttest.Try(t, err)
	layouttest.WriteFile(t, filepath.Join(dir, "docs", "notes.txt"), "notes")
	layouttest.WriteFile(t, dir+"/module-x.tar.gostsum", gost(read(t, dir+"/module-x.tar")))
	layouttest.WriteFile(t, chunks[1]+".gostsum", gost(read(t, chunks[1])))
	layouttest.WriteFile(t, dir+"/platform.tar.sha256", sha2(read(t, chunks...))+"  /elsewhere/platform.tar\n")
	layouttest.WriteFile(t, dir+"/Sha256Sums", sha2(read(t, dir+"/module-x.tar"))+" *./module-x.tar\n"+
		sha2([]byte("notes"))+"  docs/notes.txt\n"+
		sha2(read(t, dir+"/loose/install/index.json"))+"  loose/install/index.json\n"+
		sha2(read(t, filepath.Join(dir, layer)))+"  "+filepath.ToSlash(layer)+"\n"+
		sha2(nil)+"  gone.tar\n")
	return dir
}

// Checksum files in a bucket have the same results as checksum files in a directory. The changes in this test
// can be found only with checksum files.
func TestChecksumsInABucket(t *testing.T) {
	for name, c := range map[string]struct {
		change    func(t *testing.T, dir string)
		different int
	}{
		"intact":                           {func(*testing.T, string) {}, 0},
		"an archive":                       {func(t *testing.T, dir string) { flipPadding(t, dir+"/module-x.tar") }, 2},
		"a chunk":                          {func(t *testing.T, dir string) { flipPadding(t, dir+"/platform.tar.0000.chunk") }, 1},
		"a document":                       {func(t *testing.T, dir string) { layouttest.WriteFile(t, dir+"/docs/notes.txt", "Notes") }, 1},
		"no checksum":                      {func(t *testing.T, dir string) { layouttest.WriteFile(t, dir+"/platform.tar.sha256", "none") }, 1},
		"a checksum file that is too long": {func(t *testing.T, dir string) { layouttest.WriteFile(t, dir+"/a.sha256", strings.Repeat("0", 4<<20+1)) }, 1},
		"reversed bytes": {func(t *testing.T, dir string) {
			layouttest.WriteFile(t, dir+"/module-x.tar.gostsum", reversed(t, gost(read(t, dir+"/module-x.tar"))))
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir, s := bundleWithChecksums(t), buckettest.Start(t)
			c.change(t, dir)
			upload(t, s, dir)
			for _, source := range []string{"", "/module-x.tar", "/platform.tar.0001.chunk"} {
				want, got := run(t, dir+source), runInBucket(t, s, place+source)
				if diff := cmp.Diff(text(t, want, dir), text(t, got, place)); diff != "" {
					t.Errorf("%q: %s", source, diff)
				}
				if diff := cmp.Diff(lines(want, dir), lines(got, place)); diff != "" || len(got.Checksums) == 0 || got.Whole != want.Whole {
					t.Errorf("source %q: Whole = %v, want %v; %d checksums, want some, equal for the directory (-) and the bucket (+): %s", source, got.Whole, want.Whole, len(got.Checksums), diff)
				}
				good := func(c *verify.Checksum) bool { return c.State == verify.Same || c.State == verify.Absent }
				if n := len(slices.DeleteFunc(slices.Clone(got.Checksums), good)); source == "" && (n != c.different || got.Whole != (n == 0)) {
					t.Errorf("%d checksums differ, want %d; Whole = %v, want %v", n, c.different, got.Whole, n == 0)
				}
			}
		})
	}
}

// addNotes adds docs/notes.txt and an inventory to a bundle in a directory.
func addNotes(t *testing.T, dir string) {
	t.Helper()
	layouttest.WriteFile(t, filepath.Join(dir, "docs", "notes.txt"), "notes")
	var b inventory.Builder
	_, err := gather.Sources(t.Context(), []string{dir}, gather.Options{Checksums: true}, &b)
	layouttest.Try(t, err)
	listed, err := b.Build("test")
	layouttest.Try(t, err)
	listed.Files = append(listed.Files, inventory.File{Name: "docs/notes.txt", Size: 5, SHA256: sha2([]byte("notes"))})
	slices.SortFunc(listed.Files, func(a, b inventory.File) int { return strings.Compare(a.Name, b.Name) })
	data, _, err := newKey(t).EncodeSigned(listed)
	layouttest.Try(t, err)
	layouttest.WriteFile(t, filepath.Join(dir, inventory.Name), string(data))
}

// A file in a bucket is reported if its content differs from the inventory, even if its size does not.
func TestListedFilesInABucket(t *testing.T) {
	dir, _ := bundle(t)
	addNotes(t, dir)
	s := buckettest.Start(t)
	upload(t, s, dir)
	if r := runInBucket(t, s, place); !r.Whole || len(r.Checksums) < 4 {
		t.Fatalf("report about the intact bundle: Whole = %v, checksums %v; want Whole = true and at least 4 checksums", r.Whole, lines(r, place))
	}
	flipPadding(t, dir+"/module-x.tar")
	flipPadding(t, dir+"/platform.tar.0000.chunk")
	layouttest.WriteFile(t, dir+"/docs/notes.txt", "Notes")
	upload(t, s, dir)
	want, got := run(t, dir), runInBucket(t, s, place)
	if diff := cmp.Diff(text(t, want, dir), text(t, got, place)); diff != "" || got.Whole || len(got.Causes) != 3 {
		t.Errorf("Whole = %v, %d causes; want false, 3 causes, and equal reports for the directory (-) and the bucket (+): %s", got.Whole, len(got.Causes), diff)
	}
}

// Files that are in the inventory, but not in the bucket, are reported just as in a directory, with their places.
func TestMissingListedFilesInABucket(t *testing.T) {
	dir, chunks := bundle(t)
	addNotes(t, dir)
	for _, file := range []string{chunks[1], filepath.Join(dir, "module-x.tar"), filepath.Join(dir, "docs", "notes.txt")} {
		layouttest.Try(t, os.Remove(file))
	}
	s := buckettest.Start(t)
	upload(t, s, dir)
	want, got := run(t, dir), runInBucket(t, s, place)
	if diff := cmp.Diff(text(t, want, dir), text(t, got, place)); diff != "" || got.Whole || len(got.Causes) != len(want.Causes) {
		t.Errorf("Whole = %v, %d causes; want false, %d causes, and equal reports for the directory (-) and the bucket (+): %s", got.Whole, len(got.Causes), len(want.Causes), diff)
	}
}

// A damaged blob and a missing blob are reported in a bucket just as in a directory.
func TestDamagedAndMissingBlobsInABucket(t *testing.T) {
	dir := t.TempDir()
	tree := newSample(t, dir)
	spoil(t, tree.install.BlobPath(tree.digests["one.layer0"]), "flipped")
	layouttest.Try(t, os.Remove(tree.install.BlobPath(tree.digests["one.config"])))
	s := buckettest.Start(t)
	upload(t, s, dir)
	want, got := run(t, dir), runInBucket(t, s, place)
	if diff := cmp.Diff(text(t, want, dir), text(t, got, place)); diff != "" || got.Whole || len(got.Causes) != 2 {
		t.Errorf("Whole = %v, %d causes; want false, 2 causes, and equal reports for the directory (-) and the bucket (+): %s", got.Whole, len(got.Causes), diff)
	}
}

// If the bucket becomes unreachable while checksum files are read, Run returns an error and no report.
func TestUnreachableBucketEndsRun(t *testing.T) {
	s := buckettest.Start(t)
	upload(t, s, bundleWithChecksums(t))
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{place}, Buckets: s.Readers(t)})
	layouttest.Try(t, err)
	s.Fail(func(r buckettest.Request) buckettest.Fault {
		return buckettest.Fault{Drop: strings.HasSuffix(r.Key, ".gostsum")}
	})
	if r, err := verify.Run(t.Context(), tree.Snapshot(), verify.Options{}); !errors.Is(err, bucket.ErrUnreachable) {
		t.Errorf("%v, %v", r, err)
	}
}

// crowded is a bucket with more objects outside of layouts than a snapshot remembers.
type crowded struct{ bucket.Reader }

func (c crowded) List(ctx context.Context, prefix string, each func(bucket.Object) error) error {
	for i := range 100_001 {
		if err := each(bucket.Object{Key: fmt.Sprintf("documents/%d", i), ETag: "e"}); err != nil {
			return err
		}
	}
	return c.Reader.List(ctx, prefix, each)
}

// If a bucket has too many objects for a snapshot, the report says that some checksums are not compared.
func TestTooManyObjectsInABucket(t *testing.T) {
	s := buckettest.Start(t)
	upload(t, s, bundleWithChecksums(t))
	readers := s.Readers(t)
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{place}, Buckets: func(at bucket.Place) bucket.Reader { return crowded{readers(at)} }})
	layouttest.Try(t, err)
	r, err := verify.Run(t.Context(), tree.Snapshot(), verify.Options{})
	layouttest.Try(t, err)
	if got := text(t, r, place); r.Whole || !strings.Contains(got, "that belong to no layout: the checksums of ") || !strings.Contains(got, " are not compared: ") {
		t.Errorf("Whole = %v, want false; want a report about checksums that are not compared, got %s", r.Whole, text(t, r, place))
	}
}
