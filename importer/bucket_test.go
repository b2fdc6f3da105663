package importer_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/buckettest"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

const inBucket = "s3://" + buckettest.Bucket + "/store"

func importInto(t *testing.T, s *buckettest.Server, bundles ...string) (importer.Report, error) {
	t.Helper()
	i, err := importer.New(importer.Options{Store: inBucket, Buckets: s.Buckets(t)})
	if err != nil {
		t.Fatal(err)
	}
	return i.Import(t.Context(), bundles...)
}

func openStore(t *testing.T, s *buckettest.Server) *layoutstore.Tree {
	t.Helper()
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{inBucket}, Indexes: []string{}, Buckets: s.Readers(t)})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func contentOfStore(t *testing.T, s *buckettest.Server) importertest.Content {
	t.Helper()
	c, err := importertest.ContentOfSnapshot(t.Context(), openStore(t, s).Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// indexesOf returns the index entries and the blobs of every layout in a source, by path.
func indexesOf(t *testing.T, o layoutstore.Options) map[string]string {
	t.Helper()
	o.Indexes = []string{}
	tree, err := layoutstore.Open(t.Context(), o)
	layouttest.Try(t, err)
	all := map[string]string{}
	for _, at := range tree.Snapshot().Paths() {
		repo, err := tree.Snapshot().At(at)
		layouttest.Try(t, err)
		for _, l := range repo.Layouts() {
			entries, err := l.Index(t.Context())
			layouttest.Try(t, err)
			for _, e := range entries {
				all[at] += string(e.Raw) + "\n"
			}
			blobs, err := l.Blobs(t.Context())
			layouttest.Try(t, err)
			all[at] += fmt.Sprint(blobs)
		}
	}
	return all
}

// compareStores fails the test unless a store in a bucket and one in a directory have the same
// content, indexes and blobs.
func compareStores(t *testing.T, what, dir string, s *buckettest.Server) {
	t.Helper()
	importertest.Same(t, what, contentOfStore(t, s), importertest.MustContent(t, dir))
	want := indexesOf(t, layoutstore.Options{Sources: []string{dir}})
	if diff := cmp.Diff(want, indexesOf(t, layoutstore.Options{Sources: []string{inBucket}, Buckets: s.Readers(t)})); diff != "" {
		t.Errorf("%s: the indexes or blobs of the two stores differ (-directory +bucket):\n%s", what, diff)
	}
}

func TestImportIntoABucket(t *testing.T) {
	s := buckettest.Start(t)
	dir := filepath.Join(importertest.Scratch(t), "store")
	for n, bundle := range []string{importertest.OldBundle(t), importertest.NewBundle(t)} {
		want := importertest.Imported(t, dir, bundle)
		got, err := importInto(t, s, bundle)
		if err != nil {
			t.Fatal(err)
		}
		if got.Generation != uint64(n+1) || !got.Changed || got.Tags != want.Tags || got.Repositories != want.Repositories || got.Blobs.Verified != want.Blobs.Verified {
			t.Errorf("report of import %d into the bucket: got %+v, want the same as for a directory: %+v", n+1, got, want)
		}
		compareStores(t, fmt.Sprint("import ", n+1), dir, s)

		keys := s.Keys(t, "")
		again, err := importInto(t, s, bundle)
		if err != nil || again.Changed || again.Generation != uint64(n+1) {
			t.Errorf("a second import of the same bundle: got report %+v and error %v, want no change", again, err)
		}
		if diff := cmp.Diff(keys, s.Keys(t, "")); diff != "" {
			t.Errorf("a second import of the same bundle changed objects of the store, want no change:\n%s", diff)
		}
	}
}

// randomBundle writes an archive of images with few random names, so that bundles share tags and
// blobs.
func randomBundle(t *testing.T, r *rand.Rand) string {
	t.Helper()
	paths, tags, images := []string{"app", "app/release", "base", "."}, []string{"stable", "v1", "v2"}, []string{"one", "two", "three", "four"}
	chosen := map[string]string{}
	for range 1 + r.IntN(5) {
		chosen[paths[r.IntN(len(paths))]+":"+tags[r.IntN(len(tags))]] = images[r.IntN(len(images))]
	}
	var all []string
	for _, place := range slices.Sorted(maps.Keys(chosen)) {
		all = append(all, place+"="+chosen[place])
	}
	return importertest.ArchiveOf(t, filepath.Join(t.TempDir(), "a.tar"), all...)
}

func TestStoresInDirectoryAndBucketAreTheSame(t *testing.T) {
	seeds, imports := uint64(3), 6
	if os.Getenv("LAYOUTPROXY_TEST_ALL") != "" {
		seeds, imports = 30, 20
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			s := buckettest.Start(t)
			dir := filepath.Join(importertest.Scratch(t), "store")
			live := (*layoutstore.Tree)(nil)
			for n := range imports {
				var bundles []string
				for range 1 + r.IntN(2) {
					bundles = append(bundles, randomBundle(t, r))
				}
				want := importertest.Imported(t, dir, bundles...)
				got, err := importInto(t, s, bundles...)
				if err != nil {
					t.Fatal(err)
				}
				if got.Tags != want.Tags || got.Changed != want.Changed || got.Generation != want.Generation {
					t.Errorf("report of import %d into the bucket: got %+v, want the same as for a directory: %+v", n, got, want)
				}
				compareStores(t, fmt.Sprint("import ", n), dir, s)
				if live == nil {
					live = openStore(t, s)
				}
				_, err = live.Refresh(t.Context())
				layouttest.Try(t, err)
				seen, err := importertest.ContentOfSnapshot(t.Context(), live.Snapshot())
				layouttest.Try(t, err)
				importertest.Same(t, "content that a replica sees after a rescan", seen, importertest.MustContent(t, dir))
			}
		})
	}
}

// A replica only reads the bucket. A rescan of an unchanged store requests only its pointer, store.json.
func TestReplicasOnlyRead(t *testing.T) {
	s := buckettest.Start(t)
	if _, err := importInto(t, s, importertest.OldBundle(t)); err != nil {
		t.Fatal(err)
	}
	s.ResetCounts()
	live := openStore(t, s)
	t.Logf("requests of a replica that starts: %v", s.Counts())
	s.ResetCounts()
	for range 3 {
		if c, err := live.Refresh(t.Context()); err != nil || c.Changed {
			t.Fatalf("%+v, %v", c, err)
		}
	}
	if got := s.Counts(); len(got) != 1 || got[buckettest.Get] != 3 {
		t.Errorf("requests of three rescans of an unchanged store: got %v, want 3 GET requests", got)
	}
	if _, err := importInto(t, s, importertest.NewBundle(t)); err != nil {
		t.Fatal(err)
	}
	s.ResetCounts()
	if c, err := live.Refresh(t.Context()); err != nil || !c.Changed {
		t.Fatalf("%+v, %v", c, err)
	}
	for operation, n := range s.Counts() {
		if operation != buckettest.Get && operation != buckettest.List {
			t.Errorf("%d %s", n, operation)
		}
	}
	t.Logf("requests of a rescan that finds a new generation: %v", s.Counts())
}

// If a bundle has a damaged blob, the import neither uploads the blob nor changes the store.
func TestDamagedBundleIsNotUploaded(t *testing.T) {
	s := buckettest.Start(t)
	archive, places := importertest.One(t)
	importertest.Flip(t, archive, importertest.Largest(places).Body+100)
	var bad *importer.IncompleteError
	if _, err := importInto(t, s, archive); !errors.As(err, &bad) || !strings.Contains(err.Error(), "checksum mismatch") {
		t.Fatal(err)
	}
	if got := contentOfStore(t, s); len(got) != 0 {
		t.Errorf("%v", got)
	}
	for _, key := range s.Keys(t, "store/blobs/") {
		if sum := digest.FromBytes(s.Read(t, key)).Encoded(); !strings.HasSuffix(key, sum) {
			t.Errorf("content of the object %s: got the digest %s, want the digest in its key", key, sum)
		}
	}
}

// An import reuses the blobs that an interrupted import has uploaded, unless they are damaged.
func TestUploadsAreReused(t *testing.T) {
	s := buckettest.Start(t)
	bundle := importertest.NewBundle(t)
	s.Fail(func(r buckettest.Request) (f buckettest.Fault) {
		f.Drop = r.Operation == buckettest.Put && strings.HasSuffix(r.Key, "generation.json") && !strings.Contains(r.Key, "/00000000-")
		return f
	})
	if _, err := importInto(t, s, bundle); err == nil {
		t.Fatal("no error")
	}
	s.Fail(nil)
	blobs := s.Keys(t, "store/blobs/")
	damaged := s.Read(t, blobs[0])
	damaged[0] ^= 1
	s.Write(t, blobs[0], damaged)
	s.ResetCounts()
	report, err := importInto(t, s, bundle)
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	for _, r := range s.Requests() {
		if r.Operation == buckettest.Put && strings.HasPrefix(r.Key, "store/blobs/") {
			sent++
		}
	}
	if sent != 1 || report.Blobs.Repaired != 1 || report.Blobs.Written != 0 {
		t.Errorf("the second import uploaded %d blobs, want only the damaged one; it reports %+v", sent, report.Blobs)
	}
	importertest.Same(t, "the store", contentOfStore(t, s), importertest.MustContent(t, bundle))
}

// If a blob in a bucket is in quarantine, an import that repairs the blob ends the quarantine, as in a directory,
// although the repaired object has the key and the size of the damaged one. A refresh does not end it.
func TestImportRepairsQuarantinedObjects(t *testing.T) {
	s := buckettest.Start(t)
	bundle := importertest.OldBundle(t)
	_, err := importInto(t, s, bundle)
	layouttest.Try(t, err)
	options := layoutstore.Options{Sources: []string{inBucket}, Indexes: []string{}, Buckets: s.Readers(t), QuarantineDir: filepath.Join(t.TempDir(), "quarantine")}
	tree, err := layoutstore.Open(t.Context(), options)
	layouttest.Try(t, err)
	repo, err := tree.Snapshot().At("modules/console")
	layouttest.Try(t, err)
	l := repo.Layouts()[0]
	blobs, err := l.Blobs(t.Context())
	layouttest.Try(t, err)
	key := "store/" + journal.BlobKey(blobs[0], 0)
	damaged := s.Read(t, key)
	damaged[0] ^= 1
	s.Write(t, key, damaged)
	stamp, err := l.Stamp(t.Context(), blobs[0])
	layouttest.Try(t, err)
	if news, err := repo.Quarantine(t.Context(), l, blobs[0], stamp, "wrong"); err != nil || !news {
		t.Fatal(news, err)
	}
	_, err = tree.Refresh(t.Context())
	layouttest.Try(t, err)
	if _, err := repo.Blob(t.Context(), blobs[0]); err == nil {
		t.Error("the damaged blob is served after a refresh, want a refusal")
	}
	report, err := importInto(t, s, bundle)
	if err != nil || report.Blobs.Repaired != 1 {
		t.Fatalf("the second import: got report %+v and error %v, want one repair", report, err)
	}
	later, err := layoutstore.Open(t.Context(), options)
	layouttest.Try(t, err)
	_, err = tree.Refresh(t.Context())
	layouttest.Try(t, err)
	for process, tree := range map[string]*layoutstore.Tree{"the same process": tree, "a later process": later} {
		if _, err := importertest.ContentOfSnapshot(t.Context(), tree.Snapshot()); err != nil {
			t.Errorf("after the repair, in %s: %v", process, err)
		}
	}
}

// If somebody deletes or truncates the object of a blob in a store in a bucket, a running process reports the
// blob as missing when it is read. After the object is restored, a refresh finds it.
func TestBlobDeletedFromBucketAndRestored(t *testing.T) {
	s := buckettest.Start(t)
	_, err := importInto(t, s, importertest.OldBundle(t))
	layouttest.Try(t, err)
	testRestoredBlobs(t, s, "deleted", func(key string) { s.Remove(t, key) })
	testRestoredBlobs(t, s, "truncated", func(key string) { s.Write(t, key, s.Read(t, key)[1:]) })
}

func testRestoredBlobs(t *testing.T, s *buckettest.Server, harmed string, harm func(key string)) {
	t.Helper()
	tree := openStore(t, s)
	read := func(d digest.Digest) error {
		return tree.ReadWith(t.Context(), func(s *layoutstore.Snapshot) error {
			repo, err := s.At("modules/console")
			if err != nil {
				return err
			}
			blob, err := repo.OpenBlob(t.Context(), d, func(size int64) (off, n int64) { return 0, size })
			if err != nil {
				return err
			}
			return blob.Close()
		})
	}
	repo, err := tree.Snapshot().At("modules/console")
	layouttest.Try(t, err)
	blobs, err := repo.Layouts()[0].Blobs(t.Context())
	layouttest.Try(t, err)
	if len(blobs) < 3 {
		t.Fatalf("got the blobs %v, want a manifest, a config and a layer", blobs)
	}
	for _, d := range blobs {
		key := "store/" + journal.BlobKey(d, 0)
		content := s.Read(t, key)
		harm(key)
		if err := read(d); !errors.Is(err, layoutstore.ErrBlobUnknown) || errors.Is(err, layoutstore.ErrStale) {
			t.Errorf("%s after its object was %s: got the error %v, want ErrBlobUnknown and not ErrStale", d, harmed, err)
		}
		s.Write(t, key, content)
		_, err := tree.Refresh(t.Context())
		layouttest.Try(t, err)
		if err := read(d); err != nil {
			t.Errorf("%s after its object was %s and restored: %v", d, harmed, err)
		}
	}
}

// If the object of a blob arrives after the pointer, for example while somebody copies the bucket, a server
// serves the blob after the next rescan, although the generation is the same.
func TestBlobThatArrivesLaterIsServed(t *testing.T) {
	s := buckettest.Start(t)
	bundle := importertest.OldBundle(t)
	_, err := importInto(t, s, bundle)
	layouttest.Try(t, err)
	late := s.Keys(t, "store/blobs/")[0]
	data := s.Read(t, late)
	s.Remove(t, late)
	tree := openStore(t, s)
	if _, err := importertest.ContentOfSnapshot(t.Context(), tree.Snapshot()); err == nil {
		t.Error("a blob has not arrived: got no error, want one")
	}
	s.Write(t, late, data)
	_, err = tree.Refresh(t.Context())
	layouttest.Try(t, err)
	got, err := importertest.ContentOfSnapshot(t.Context(), tree.Snapshot())
	layouttest.Try(t, err)
	importertest.Same(t, "the store with all blobs", got, importertest.MustContent(t, bundle))
	s.ResetCounts()
	_, err = tree.Refresh(t.Context())
	layouttest.Try(t, err)
	if n := s.Counts(); len(n) != 1 || n[buckettest.Get] != 1 {
		t.Errorf("requests of a rescan of the complete store: got %v, want one GET", n)
	}
}

// If the bucket of a store becomes unreachable, the store is failing, and its last state is still served. The
// other sources are scanned as usual.
func TestUnreachableStoreDoesNotStopScans(t *testing.T) {
	s := buckettest.Start(t)
	_, err := importInto(t, s, importertest.OldBundle(t))
	layouttest.Try(t, err)
	dir := t.TempDir()
	layouttest.Publish(t, dir, "app", "v1")
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{dir, inBucket}, Roots: []string{""}, Indexes: []string{}, Buckets: s.Readers(t)})
	layouttest.Try(t, err)
	before := tree.Snapshot().TagCount()
	s.Unreachable()
	layouttest.Publish(t, dir, "later", "v1")
	_, err = tree.Refresh(t.Context())
	layouttest.Try(t, err)
	states := func() (all []string) {
		for _, source := range tree.Snapshot().Sources() {
			all = append(all, source.State)
		}
		return all
	}
	if got := states(); !slices.Equal(got, []string{"ready", "failing"}) {
		t.Errorf("got the states %q, want the directory ready and the store failing", got)
	}
	if got := tree.Snapshot().TagCount(); got != before+1 {
		t.Errorf("got %d tags, want one more than the %d before the outage", got, before)
	}
	s.Fail(nil)
	_, err = tree.Refresh(t.Context())
	layouttest.Try(t, err)
	if got := states(); !slices.Equal(got, []string{"ready", "ready"}) {
		t.Errorf("after the outage: got the states %q, want both sources ready", got)
	}
}

// If the bucket ignores the conditions of conditional writes, an import fails and leaves the bucket empty.
func TestBucketWithoutConditionalWritesIsRefused(t *testing.T) {
	s := buckettest.Start(t)
	s.IgnoreConditions()
	if _, err := importInto(t, s, importertest.OldBundle(t)); !errors.Is(err, publish.ErrNoConditions) {
		t.Fatal(err)
	}
	if keys := s.Keys(t, ""); len(keys) != 0 {
		t.Errorf("objects in the bucket after the failed import: got %q, want none", keys)
	}
}

// If another writer publishes first, an import fails with ErrLost and publishes nothing.
func TestImportFailsIfAnotherWriterPublishesFirst(t *testing.T) {
	s := buckettest.Start(t)
	if _, err := importInto(t, s, importertest.OldBundle(t)); err != nil {
		t.Fatal(err)
	}
	other := importertest.ArchiveOf(t, filepath.Join(t.TempDir(), "a.tar"), "other:v1=other")
	mine := importertest.ArchiveOf(t, filepath.Join(t.TempDir(), "a.tar"), "mine:v1=mine")
	raced := false
	s.Fail(func(r buckettest.Request) (f buckettest.Fault) {
		if r.Operation == buckettest.Put && strings.HasSuffix(r.Key, "generation.json") && !raced {
			raced = true
			f.Then = func() {
				if _, err := importInto(t, s, other); err != nil {
					t.Errorf("the import of the other writer failed: %v", err)
				}
			}
		}
		return f
	})
	if _, err := importInto(t, s, mine); !errors.Is(err, publish.ErrLost) {
		t.Fatal(err)
	}
	s.Fail(nil)
	got := contentOfStore(t, s)
	if _, ok := got["other:v1"]; !ok || got["mine:v1"] != "" {
		t.Errorf("%v", got)
	}
	if _, err := importInto(t, s, mine); err != nil {
		t.Fatal(err)
	}
	if got = contentOfStore(t, s); got["mine:v1"] == "" || got["other:v1"] == "" {
		t.Errorf("%v", got)
	}
}

// After concurrent imports, exactly the tags of the successful imports are visible.
func TestConcurrentImportsIntoABucket(t *testing.T) {
	rounds := 10
	if os.Getenv("LAYOUTPROXY_TEST_ALL") != "" {
		rounds = 200
	}
	s := buckettest.Start(t)
	want, lost := importertest.Content{}, 0
	for n := range rounds {
		type result struct {
			content importertest.Content
			err     error
		}
		results := make(chan result)
		for w := range 2 {
			bundle := importertest.ArchiveOf(t, filepath.Join(t.TempDir(), "a.tar"), fmt.Sprintf("app:w%d-%d=image%d", w, n, n%5), fmt.Sprintf("own%d:v%d=image%d", w, n, n%3))
			go func() {
				content := importertest.MustContent(t, bundle)
				_, err := importInto(t, s, bundle)
				results <- result{content, err}
			}()
		}
		for range 2 {
			r := <-results
			switch {
			case r.err == nil:
				want = want.Over(r.content)
			case errors.Is(r.err, publish.ErrLost):
				lost++
			default:
				t.Fatal(r.err)
			}
		}
		if n%20 == 0 || n == rounds-1 {
			importertest.Same(t, fmt.Sprint("round ", n), contentOfStore(t, s), want)
		}
	}
	t.Logf("%d of %d imports failed because another writer published first", lost, 2*rounds)
}

// If the bucket cannot be reached when an import reads an index of the store, the index does not count as
// damaged: nobody has to fix or remove it.
func TestUnreachableIndexIsNotDamaged(t *testing.T) {
	s := buckettest.Start(t)
	if _, err := importInto(t, s, importertest.OldBundle(t)); err != nil {
		t.Fatal(err)
	}
	bundle := importertest.NewBundle(t)
	for n := 1; ; n++ { // the import reads an index more than once
		reads := map[string]int{}
		failed := false
		s.Fail(func(r buckettest.Request) (f buckettest.Fault) {
			if r.Operation == buckettest.Get && strings.HasSuffix(r.Key, "index.json") {
				if reads[r.Key]++; reads[r.Key] >= n {
					failed, f.Status, f.Code = true, http.StatusForbidden, "AccessDenied"
				}
			}
			return f
		})
		_, err := importInto(t, s, bundle)
		if !failed {
			layouttest.Try(t, err)
			return
		}
		if !errors.Is(err, bucket.ErrUnreachable) || errors.As(err, new(*importer.DamagedError)) {
			t.Errorf("read %d of an index failed: got error %v, want ErrUnreachable and not *DamagedError", n, err)
		}
	}
}

// Any request to the bucket may fail, before or after it takes effect. Readers then see either the
// old or the new state, and a second import succeeds.
func TestFaultAtEveryRequest(t *testing.T) {
	before, after := importertest.OldBundle(t), importertest.NewBundle(t)
	old := importertest.MustContent(t, before)
	fresh := old.Over(importertest.MustContent(t, after))
	faults := map[string]buckettest.Fault{"killed before": {Drop: true}, "killed after": {DropAnswer: true}}
	all := os.Getenv("LAYOUTPROXY_TEST_ALL") != ""
	for name, fault := range faults {
		for n := 1; ; n++ {
			s := buckettest.Start(t)
			if _, err := importInto(t, s, before); err != nil {
				t.Fatal(err)
			}
			s.ResetCounts()
			ctx, kill := context.WithCancel(t.Context())
			reached := false
			s.Fail(func(r buckettest.Request) (f buckettest.Fault) {
				if r.Number == n {
					reached, f = true, fault
					f.Then = kill
				}
				if r.Number > n {
					f.Drop = true // make all later requests fail, as if the process had been killed
				}
				return f
			})
			i, err := importer.New(importer.Options{Store: inBucket, Buckets: s.Buckets(t), Jobs: 1})
			layouttest.Try(t, err)
			_, err = i.Import(ctx, after)
			kill()
			s.Fail(nil)
			if !reached {
				layouttest.Try(t, err)
				break
			}
			got := contentOfStore(t, s)
			if !maps.Equal(got, old) && !maps.Equal(got, fresh) {
				importertest.Same(t, fmt.Sprintf("%s request %d: the store has neither the old nor the new content; compared with the new:", name, n), got, fresh)
			}
			if err == nil && !maps.Equal(got, fresh) {
				t.Errorf("%s request %d: the import returned no error but published nothing, want the new content", name, n)
			}
			if _, err := importInto(t, s, after); err != nil {
				t.Errorf("%s request %d: the second import failed: %v", name, n, err)
			}
			importertest.Same(t, fmt.Sprintf("%s request %d: the store after the second import", name, n), contentOfStore(t, s), fresh)
			if !all {
				n += 15 // skip 15 requests, unless LAYOUTPROXY_TEST_ALL=1
			}
		}
	}
}
