package importer_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/buckettest"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// writeInto writes the files of a directory into the bucket of a test server, below a prefix.
func writeInto(t *testing.T, s *buckettest.Server, dir, prefix string) {
	t.Helper()
	layouttest.Try(t, fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		s.Write(t, prefix+"/"+name, layouttest.ReadFile(t, filepath.Join(dir, name)))
		return nil
	}))
}

func newSigningKey(t *testing.T) *inventory.SigningKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	layouttest.Try(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	layouttest.Try(t, err)
	key, err := inventory.ParseSigningKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	layouttest.Try(t, err)
	return key
}

// A signed bundle can be imported from a directory or a bucket, into a store in a directory or in a
// bucket. With the public key, each store then serves the bundle.
func TestSignedBundlesFromAndIntoBuckets(t *testing.T) {
	key := newSigningKey(t)

	s := buckettest.Start(t)
	tree := signed(t, "app", "image", key)
	writeInto(t, s, tree, "bundle")
	unsigned := signed(t, "app", "image", nil)
	writeInto(t, s, unsigned, "unsigned")
	bundles := map[string]string{tree: unsigned, "s3://" + buckettest.Bucket + "/bundle": "s3://" + buckettest.Bucket + "/unsigned"}
	for bundle, unsigned := range bundles {
		for _, store := range []string{filepath.Join(t.TempDir(), "store"), "s3://" + buckettest.Bucket + "/stores/" + filepath.Base(bundle)} {
			t.Run(bundle+" into "+store, func(t *testing.T) {
				i, err := importer.New(importer.Options{Store: store, Buckets: s.Buckets(t), VerifyKey: key.Public()})
				layouttest.Try(t, err)
				if _, err := i.Import(t.Context(), unsigned); !errors.As(err, new(*inventory.SignatureError)) {
					t.Errorf("import of a bundle without a signature: got error %v, want *SignatureError", err)
				}
				_, err = i.Import(t.Context(), bundle)
				layouttest.Try(t, err)
				served, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{store}, Indexes: []string{}, Buckets: s.Readers(t), VerifyKey: key.Public()})
				layouttest.Try(t, err)
				got, err := importertest.ContentOfSnapshot(t.Context(), served.Snapshot())
				layouttest.Try(t, err)
				importertest.Same(t, "the store, opened with the key", got, importertest.MustContent(t, tree))
			})
		}
	}
}

// A server with a key rescans a store in a bucket while a blob is missing. This alone changes nothing.
func TestRescanOfSignedStoreWithMissingBlob(t *testing.T) {
	key := newSigningKey(t)
	s := buckettest.Start(t)
	i, err := importer.New(importer.Options{Store: inBucket, Buckets: s.Buckets(t), VerifyKey: key.Public()})
	layouttest.Try(t, err)
	_, err = i.Import(t.Context(), signed(t, "app", "image", key))
	layouttest.Try(t, err)
	s.Remove(t, s.Keys(t, "store/blobs/")[0])
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{inBucket}, Indexes: []string{}, Buckets: s.Readers(t), VerifyKey: key.Public()})
	layouttest.Try(t, err)
	if change, err := tree.Refresh(t.Context()); err != nil || change.Changed {
		t.Errorf("Refresh of an unchanged store: got %+v and error %v, want no change", change, err)
	}
}

// A server with a key reports the unsigned content of a store in a bucket, also after further rescans.
func TestUnsignedContentOfStoreStaysReported(t *testing.T) {
	key := newSigningKey(t)
	s := buckettest.Start(t)
	_, err := importInto(t, s, signed(t, "app", "image", nil))
	layouttest.Try(t, err)
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{inBucket}, Indexes: []string{}, Buckets: s.Readers(t), VerifyKey: key.Public()})
	layouttest.Try(t, err)
	for range 2 {
		if found := tree.Snapshot().ScanProblems(); len(found) != 1 || !strings.Contains(found[0].Reason, "no signed inventory lists it") {
			t.Errorf("got the problems %v, want one about unsigned content", found)
		}
		_, err = tree.Refresh(t.Context())
		layouttest.Try(t, err)
	}
}

// If a blob of a bundle in a bucket is damaged, the problem contains the object key of the blob.
func TestDamagedBlobOfABundleInABucket(t *testing.T) {
	s := buckettest.Start(t)
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("app")
	l.Tag(l.Image(layouttest.Image{Name: "image", LayerSizes: []int64{5000}}), "v1")
	l.Write()
	layer := importertest.LargestFile(t, tree.Dir(), "/blobs/")
	importertest.Flip(t, layer, 0)
	writeInto(t, s, tree.Dir(), "bundle")
	i, err := importer.New(importer.Options{Store: filepath.Join(t.TempDir(), "store"), Buckets: s.Buckets(t)})
	layouttest.Try(t, err)
	bundle := "s3://" + buckettest.Bucket + "/bundle"
	var incomplete *importer.IncompleteError
	if _, err := i.Import(t.Context(), bundle); !errors.As(err, &incomplete) || incomplete.Problems[0].Path != bundle+"/app/blobs/sha256/"+filepath.Base(layer) {
		t.Errorf("%v", err)
	}
}

func TestBundlesInBucketsAreNotKeptPacked(t *testing.T) {
	s := buckettest.Start(t)
	dir := t.TempDir()
	importertest.ArchiveOf(t, filepath.Join(dir, "a.tar"), "app:v1=image")
	writeInto(t, s, dir, "bundle")
	store := filepath.Join(t.TempDir(), "store")
	i, err := importer.New(importer.Options{Store: store, Buckets: s.Buckets(t), KeepPacked: true})
	layouttest.Try(t, err)
	for _, bundle := range []string{"s3://" + buckettest.Bucket + "/bundle", "s3://" + buckettest.Bucket + "/bundle/a.tar"} {
		if _, err := i.Import(t.Context(), bundle); !errors.Is(err, importer.ErrPackedFromBucket) {
			t.Errorf("%s: %v", bundle, err)
		}
	}
	i, err = importer.New(importer.Options{Store: store, Buckets: s.Buckets(t)})
	layouttest.Try(t, err)
	_, err = i.Import(t.Context(), "s3://"+buckettest.Bucket+"/bundle/a.tar")
	layouttest.Try(t, err)
	importertest.Same(t, "unpacked", importertest.MustContent(t, store), importertest.MustContent(t, dir))
}

// If the inventory of a bundle lists an archive that is missing, an import refuses the bundle, whether the
// bundle and the store are in directories or in buckets.
func TestBundlesWithAMissingArchive(t *testing.T) {
	s := buckettest.Start(t)
	dir := t.TempDir()
	importertest.ArchiveOf(t, filepath.Join(dir, "a.tar"), "app:v1=image")
	importertest.ArchiveOf(t, filepath.Join(dir, "b.tar"), "other:v1=image")
	writeInventory(t, dir)
	layouttest.Try(t, os.Remove(filepath.Join(dir, "b.tar")))
	writeInto(t, s, dir, "bundle")
	for _, bundle := range []string{dir, "s3://" + buckettest.Bucket + "/bundle"} {
		for _, store := range []string{filepath.Join(t.TempDir(), "store"), inBucket} {
			i, err := importer.New(importer.Options{Store: store, Buckets: s.Buckets(t)})
			layouttest.Try(t, err)
			var incomplete *importer.IncompleteError
			if _, err := i.Import(t.Context(), bundle); !errors.As(err, &incomplete) || !strings.Contains(err.Error(), bundle+"/b.tar: the archive is missing") {
				t.Errorf("%s into %s: got error %v, want *IncompleteError that says that the archive is missing", bundle, store, err)
			}
		}
	}
}

// If an object of a store in a bucket is damaged, a running server keeps serving its last snapshot.
// A new server starts and reports a problem. Both recover once the object is restored. This holds
// for every kind of object.
func TestDamagedStoreInABucket(t *testing.T) {
	s := buckettest.Start(t)
	if _, err := importInto(t, s, importertest.OldBundle(t)); err != nil {
		t.Fatal(err)
	}
	want := contentOfStore(t, s)
	kinds := map[string]string{}
	for _, key := range s.Keys(t, "store/") { // the keys are sorted, so objects of the current generation come last
		kind := path.Base(key)
		if i := strings.LastIndexByte(kind, '-'); i >= 0 {
			kind = kind[i+1:]
		}
		if !strings.HasPrefix(key, "store/blobs/") {
			kinds[kind] = key
		}
	}
	for kind, key := range kinds {
		t.Run(kind, func(t *testing.T) {
			good := s.Read(t, key)
			defer s.Write(t, key, good)
			before := openStore(t, s)
			paths := before.Snapshot().Paths()
			s.Write(t, key, []byte("{"))
			after := openStore(t, s)
			for name, tree := range map[string]*layoutstore.Tree{"served before": before, "opened": after} {
				_, err := tree.Refresh(t.Context())
				layouttest.Try(t, err)
				if got := tree.Snapshot().Paths(); name == "served before" && !slices.Equal(got, paths) {
					t.Errorf("repositories: %q, want %q", got, paths)
				}
				problems, err := tree.Snapshot().Problems(t.Context())
				layouttest.Try(t, err)
				if name == "opened" && len(problems) == 0 {
					t.Error("no problem")
				}
			}
			s.Write(t, key, good)
			_, err := after.Refresh(t.Context())
			layouttest.Try(t, err)
			content, err := importertest.ContentOfSnapshot(t.Context(), after.Snapshot())
			layouttest.Try(t, err)
			importertest.Same(t, "a server after the object was restored", content, want)
		})
	}
	if len(kinds) != 4 { // these kinds are the pointer, the generation, an index and a list of blobs
		t.Errorf("the test damaged objects of the kinds %v, want 4 kinds", kinds)
	}
}
