package layoutstore_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/buckettest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

func upload(t testing.TB, s *buckettest.Server, dir, prefix string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		s.Write(t, prefix+filepath.ToSlash(rel), data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// inBucket returns the s3:// URL of a path in the bucket of a test.
func inBucket(path string) string { return "s3://" + buckettest.Bucket + "/" + path }

// bucketOptions returns options for a tree with sources in the bucket.
func bucketOptions(t testing.TB, s *buckettest.Server, sources ...string) layoutstore.Options {
	return layoutstore.Options{Sources: sources, Roots: []string{""}, Buckets: s.Readers(t)}
}

// bundle writes a bundle with unpacked layouts, an archive and a chunk set.
func bundle(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	packed := layouttest.New(t, t.TempDir())
	for _, at := range []string{"modules/a", "modules/b"} {
		put(t, packed.Dir(), at, at, "v1", "v2")
	}
	packed.Archive(filepath.Join(dir, "a.tar"), layouttest.Archive{Layouts: []string{"modules/a"}})
	packed.Archive(filepath.Join(dir, "b.tar"), layouttest.Archive{Layouts: []string{"modules/b"}})
	layouttest.Split(t, filepath.Join(dir, "b.tar"), 3000)
	put(t, dir, "loose", "loose", "v1")
	put(t, dir, "deep/er", "deeper", "v1")
	return dir
}

// everythingIn downloads all blobs of a tree. It returns all tags and blobs with their digests.
func everythingIn(t *testing.T, tree *layoutstore.Tree) (all []string) {
	t.Helper()
	for _, at := range served(t, tree) {
		name, tag, _ := strings.Cut(at, ":")
		repo := repository(t, tree, name)
		desc, err := repo.Tag(t.Context(), tag)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, at+" "+desc.Digest.String())
		graph, err := repo.Graph(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range graph.Blobs {
			all = append(all, name+" "+downloadBlob(t, repo, b.Digest))
		}
	}
	return all
}

// downloadBlob reads a blob, verifies it, and returns its digest and size as text.
func downloadBlob(t *testing.T, repo *layoutstore.Repository, d digest.Digest) string {
	t.Helper()
	blob, err := repo.OpenBlob(t.Context(), d, fromStart)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	data, err := io.ReadAll(struct{ io.Reader }{blob})
	if err != nil || digest.FromBytes(data) != d {
		t.Errorf("content of the blob %s: got %d bytes and error %v, want content that matches the digest", d, len(data), err)
	}
	return fmt.Sprint(d, " ", len(data))
}

// A bundle gives the same tree in a bucket as in a directory, even if a source is only one archive.
func TestBundleInABucket(t *testing.T) {
	dir := bundle(t)
	s := buckettest.Start(t)
	upload(t, s, dir, "some where/")
	for _, names := range [][]string{{""}, {"a.tar"}, {"b.tar"}, {"b.tar.0001.chunk"}, {"deep/", "a.tar"}} {
		var onDisk, inStore []string
		for _, name := range names {
			onDisk = append(onDisk, filepath.Join(dir, name))
			inStore = append(inStore, inBucket("some where/"+name))
		}
		want := everythingIn(t, openWith(t, layoutstore.Options{Sources: onDisk, Roots: []string{""}}))
		tree := openWith(t, bucketOptions(t, s, inStore...))
		if diff := cmp.Diff(want, everythingIn(t, tree)); diff != "" || len(want) == 0 {
			t.Errorf("sources %q: content of the bucket compared with the directory (-want +got): %s", names, diff)
		}
		if problems, err := tree.Snapshot().Problems(t.Context()); len(problems) > 0 || err != nil {
			t.Errorf("sources %q: got problems %v and error %v, want none", names, problems, err)
		}
	}
}

// A rescan of an unchanged bucket needs one request. A cached manifest needs none, and a blob needs
// one request per object that contains a part of it.
func TestNumberOfRequestsToABucket(t *testing.T) {
	s := buckettest.Start(t)
	upload(t, s, bundle(t), "")
	tree := openWith(t, bucketOptions(t, s, inBucket("")))
	everythingIn(t, tree)
	count := func(what string, want map[buckettest.Operation]int, do func()) {
		t.Helper()
		s.ResetCounts()
		do()
		if diff := cmp.Diff(want, s.Counts()); diff != "" {
			t.Errorf("requests for %s (-want +got): %s", what, diff)
		}
	}
	count("a rescan", map[buckettest.Operation]int{buckettest.List: 1}, func() {
		if change := refresh(t, tree); change.Changed || change.Again != 0 {
			t.Errorf("Refresh without a change = %+v, want Changed = false and Again = 0", change)
		}
	})
	for _, name := range []string{"loose", "modules/a", "modules/b"} {
		repo := repository(t, tree, name)
		manifest := func() {
			desc, err := repo.Tag(t.Context(), "v1")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := repo.Manifest(t.Context(), desc.Digest); err != nil {
				t.Fatal(err)
			}
		}
		count("an uncached manifest", map[buckettest.Operation]int{buckettest.Get: 1}, manifest)
		count("a cached manifest", map[buckettest.Operation]int{}, manifest)
		graph, err := repo.Graph(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range graph.Blobs {
			where, err := repo.Layouts()[0].Locate(t.Context(), b.Digest)
			if err != nil {
				t.Fatal(err)
			}
			count("a blob", map[buckettest.Operation]int{buckettest.Get: len(where)}, func() { downloadBlob(t, repo, b.Digest) })
			count("a blob's size", map[buckettest.Operation]int{}, func() {
				blob, err := repo.OpenBlob(t.Context(), b.Digest, func(int64) (off, n int64) { return 0, 0 })
				if err != nil {
					t.Fatal(err)
				}
				blob.Close()
			})
		}
	}
}

// A rescan reads only the changed objects in a bucket.
func TestRescanReadsOnlyChangesInABucket(t *testing.T) {
	s := buckettest.Start(t)
	upload(t, s, bundle(t), "p/")
	tree := openWith(t, bucketOptions(t, s, inBucket("p")))
	before := served(t, tree)
	one := t.TempDir()
	put(t, one, "more", "more", "v1")
	upload(t, s, one, "p/")
	s.ResetCounts()
	if change := refresh(t, tree); !change.Changed {
		t.Errorf("Refresh with a new layout = %+v, want Changed = true", change)
	}
	if diff := cmp.Diff(map[buckettest.Operation]int{buckettest.List: 1, buckettest.Get: 1}, s.Counts()); diff != "" {
		t.Errorf("requests for a new layout (-want +got): %s", diff)
	}
	if got, want := served(t, tree), append(slices.Clone(before), "more:v1"); !slices.Equal(got, want) {
		t.Errorf("got tags %v, want %v", got, want)
	}
	s.Remove(t, "p/a.tar")
	refresh(t, tree)
	if got := served(t, tree); slices.ContainsFunc(got, func(at string) bool { return strings.HasPrefix(at, "modules/a:") }) {
		t.Errorf("got tags %v, want none of the removed archive", got)
	}
	for _, key := range s.Keys(t, "p/") {
		s.Remove(t, key)
	}
	refresh(t, tree)
	if status := tree.Snapshot().Sources(); len(status) != 1 || status[0].State != "missing" || len(served(t, tree)) > 0 {
		t.Errorf("source without objects: got status %+v and tags %v, want the state missing and no tags", status, served(t, tree))
	}
}

// A hidden index.json below the top of a bucket is ignored, as in a directory. A signed inventory need not list it.
func TestHiddenObjectsAreNotUnlistedFiles(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "app", "image", "v1")
	key := newSigningKey(t)
	signTree(t, dir, key)
	layouttest.WriteFile(t, filepath.Join(dir, "app", ".old", "index.json"), "{}")
	s := buckettest.Start(t)
	upload(t, s, dir, "p/")
	options := bucketOptions(t, s, inBucket("p"))
	options.VerifyKey = key.Public()
	if problems := openWith(t, options).Snapshot().ScanProblems(); len(problems) > 0 {
		t.Errorf("got the problems %v, want none", problems)
	}
}

// While a bucket is unreachable, its last state is served, and no content is reported as missing.
func TestUnreachableBucket(t *testing.T) {
	s := buckettest.Start(t)
	upload(t, s, bundle(t), "")
	options := bucketOptions(t, s, inBucket(""))
	tree := openWith(t, options)
	before := served(t, tree)
	repo := repository(t, tree, "loose")
	graph, err := repo.Graph(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Unreachable()
	refresh(t, tree)
	if got := served(t, tree); !slices.Equal(got, before) {
		t.Errorf("got tags %v, want %v", got, before)
	}
	for _, status := range tree.Snapshot().Sources() {
		if status.State != "failing" || !strings.Contains(status.Detail, inBucket("")[:len(inBucket(""))-1]) {
			t.Errorf("got the status %+v, want the state failing and a detail that names the bucket", status)
		}
	}
	if problems, err := tree.Snapshot().Problems(t.Context()); len(problems) != 1 || err != nil {
		t.Errorf("got problems %v and error %v, want one problem", problems, err)
	}
	_, err = repo.OpenBlob(t.Context(), graph.Blobs[0].Digest, fromStart)
	if !errors.Is(err, bucket.ErrUnreachable) || !layoutstore.IsExhausted(err) || errors.Is(err, layoutstore.ErrBlobUnknown) {
		t.Errorf("OpenBlob: got error %v, want ErrUnreachable", err)
	}
	_, err = repository(t, tree, "modules/b").Manifest(t.Context(), digest.FromString("unknown"))
	if !errors.Is(err, bucket.ErrUnreachable) || errors.Is(err, layoutstore.ErrManifestUnknown) {
		t.Errorf("Manifest(digest that an unreadable index may contain): got error %v, want ErrUnreachable", err)
	}
	if _, err := layoutstore.Open(t.Context(), options); !errors.Is(err, bucket.ErrUnreachable) {
		t.Errorf("Open: got error %v, want ErrUnreachable", err)
	}
	s.Fail(nil)
	refresh(t, tree)
	if status := tree.Snapshot().Sources(); slices.ContainsFunc(status, func(s layoutstore.SourceStatus) bool { return s.State != "ready" }) {
		t.Errorf("got the status %+v, want only the state ready", status)
	}
	downloadBlob(t, repo, graph.Blobs[0].Digest)
}

func TestInvalidSourcesInBuckets(t *testing.T) {
	s := buckettest.Start(t)
	s.Write(t, "a/index.json", []byte("{}"))
	for _, source := range []string{"nothing", "a/b.tar", "b.tar"} {
		_, err := layoutstore.Open(t.Context(), bucketOptions(t, s, inBucket(source)))
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), inBucket(source)) {
			t.Errorf("Open(missing source %s): got the error %v, want fs.ErrNotExist with the name of the source", source, err)
		}
	}
	for _, source := range []string{"s3://", "s3://UPPER/x", "s3://bundles/a/../b", "s3://bundles//a"} {
		if _, err := layoutstore.Open(t.Context(), bucketOptions(t, s, source)); err == nil || !strings.Contains(err.Error(), source) {
			t.Errorf("Open(invalid source %s): got the error %v, want one that names the source", source, err)
		}
	}
	if _, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{inBucket("a")}}); err == nil {
		t.Error("Open(source in a bucket, without Options.Buckets): got no error, want one")
	}
}

// With cached indexes, a first scan reads no archive, and a rescan requests only pages of the list.
// With LAYOUTPROXY_TEST_ALL=1, the test has 2,000 archives.
func TestManyArchivesInABucket(t *testing.T) {
	n := 40
	if os.Getenv("LAYOUTPROXY_TEST_ALL") != "" {
		n = 2000
	}
	s := buckettest.Start(t)
	for i := range n {
		dir, packed := t.TempDir(), t.TempDir()
		name := fmt.Sprintf("modules/m%04d", i)
		put(t, dir, name, name, "v1")
		layouttest.New(t, dir).Archive(filepath.Join(packed, "m.tar"), layouttest.Archive{})
		data, err := os.ReadFile(filepath.Join(packed, "m.tar"))
		if err != nil {
			t.Fatal(err)
		}
		s.Write(t, fmt.Sprintf("m%04d.tar", i), data)
	}
	options := bucketOptions(t, s, inBucket(""))
	options.CacheDir = t.TempDir()
	cold := openWith(t, options)
	if err := cold.SaveCaches(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := served(t, cold)
	s.ResetCounts()
	begun := time.Now()
	tree := openWith(t, options)
	t.Logf("%d archives with cached indexes: time %v, requests %v", n, time.Since(begun), s.Counts())
	pages := (n + 999) / 1000
	if got := s.Counts(); got[buckettest.List] != pages || got[buckettest.Get] > 1 || got[buckettest.Head] != 0 {
		t.Errorf("requests of a first scan: got %v, want one list request per page, at most one GET and no HEAD", got)
	}
	if got := served(t, tree); !slices.Equal(got, want) || len(got) != 2*n {
		t.Errorf("got %d tags, want %d", len(got), len(want))
	}
	s.ResetCounts()
	refresh(t, tree)
	if diff := cmp.Diff(map[buckettest.Operation]int{buckettest.List: pages}, s.Counts()); diff != "" {
		t.Errorf("requests in a rescan (-want +got): %s", diff)
	}
}
