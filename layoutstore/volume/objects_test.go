package volume_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/buckettest"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume/volumetest"
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
	layouttest.Try(t, err)
}

func findObjects(t testing.TB, o *volume.Objects) volume.Found {
	t.Helper()
	found, _, err := o.List(t.Context())
	layouttest.Try(t, err)
	return found
}

func openObjectArchive(t testing.TB, r bucket.Reader, cache volume.Cache) *volume.Archive {
	t.Helper()
	found := findObjects(t, volume.OpenObjects(r, ""))
	if len(found.Sets) != 1 || len(found.Problems) != 0 {
		t.Fatalf("found the archives %v and the problems %v, want one archive and no problems", found.Sets, found.Problems)
	}
	a, err := volume.OpenArchive(t.Context(), found.Sets[0], cache)
	layouttest.Try(t, err)
	return a
}

func TestObjectsImplementVolume(t *testing.T) {
	t.Run("tree", func(t *testing.T) {
		volumetest.Run(t, func(t *testing.T, tree *layouttest.Tree) volume.Volume {
			s := buckettest.Start(t)
			upload(t, s, tree.Dir(), "bundles/one/")
			s.Write(t, "bundles/two/index.json", []byte("another place"))
			return volume.OpenObjects(s.Open(t, "bundles/one/"), "")
		})
	})
	for name, how := range map[string]struct {
		cut  func(t *testing.T, file string)
		kept bool
	}{
		"archive":                       {},
		"archive, opened from an index": {kept: true},
		"chunks":                        {cut: splitting(3000)},
		"chunks, opened from an index":  {cut: splitting(3000), kept: true},
	} {
		t.Run(name, func(t *testing.T) {
			volumetest.Run(t, func(t *testing.T, tree *layouttest.Tree) volume.Volume {
				dir := t.TempDir()
				file := filepath.Join(dir, "bundle.tar")
				tree.Archive(file, layouttest.Archive{})
				if how.cut != nil {
					how.cut(t, file)
				}
				s := buckettest.Start(t)
				upload(t, s, dir, "a place/")
				reader := s.Open(t, "a place/")
				if !how.kept {
					return whole(t, openObjectArchive(t, reader, ""))
				}
				cache := volume.Cache(t.TempDir())
				openObjectArchive(t, reader, cache).SaveIndex(cache)
				s.ResetCounts()
				a := whole(t, openObjectArchive(t, reader, cache))
				if n := s.Counts(); n[buckettest.Get] != 0 {
					t.Errorf("opening from a cached index sent the requests %v, want no GET", n)
				}
				return a
			})
		})
	}
}

// Reading the headers of an archive takes few requests, however much content is between them.
// Reading a blob takes one request.
func TestRequestsForArchiveAndBlob(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("big")
	var layers []digest.Digest
	for i := range 4 {
		layers = append(layers, l.Blob("application/octet-stream", bytes.Repeat([]byte{byte(i + 1)}, 3<<20)).Digest)
	}
	l.Write()
	small := tree.Layout("small")
	for i := range 500 {
		small.Blob("application/octet-stream", []byte{byte(i), byte(i >> 8)})
	}
	small.Write()
	dir := t.TempDir()
	file := filepath.Join(dir, "bundle.tar")
	tree.Archive(file, layouttest.Archive{})
	s := buckettest.Start(t)
	upload(t, s, dir, "")
	s.ResetCounts()
	a := whole(t, openObjectArchive(t, s.Open(t, ""), ""))
	if n := s.Counts(); n[buckettest.List] != 1 || n[buckettest.Get] > 20 || n[buckettest.Head] != 0 {
		t.Errorf("reading 500 small and 4 large entries sent the requests %v, want one list, at most 20 GETs and no HEAD", n)
	}
	s.ResetCounts()
	where, err := a.Locate(t.Context(), "big", layers[1])
	layouttest.Try(t, err)
	if data, err := where.ReadAll(t.Context()); err != nil || digest.FromBytes(data) != layers[1] {
		t.Errorf("blob: got %d bytes and the error %v, want the content with its digest", len(data), err)
	}
	if all := s.Requests(); len(all) != 1 || all[0].Operation != buckettest.Get || all[0].IfMatch == "" {
		t.Errorf("reading a blob sent %+v, want one conditional GET", all)
	}
}

// Listing an unchanged place sends only one request per 1,000 objects, and reports no change.
func TestListOfUnchangedObjects(t *testing.T) {
	s := buckettest.Start(t)
	for i := range 1500 {
		s.Write(t, "p/l/blobs/sha256/"+digest.FromString(string(rune(i))).Encoded(), []byte{1})
	}
	s.Write(t, "p/l/index.json", []byte("{}"))
	o := volume.OpenObjects(s.Open(t, "p/"), "")
	if _, changed, err := o.List(t.Context()); !changed || err != nil {
		t.Fatalf("first List: got changed = %t and the error %v, want true and nil", changed, err)
	}
	s.ResetCounts()
	if _, changed, err := o.List(t.Context()); changed || err != nil {
		t.Errorf("List of unchanged objects: got changed = %t and the error %v, want false and nil", changed, err)
	}
	if diff := cmp.Diff(map[buckettest.Operation]int{buckettest.List: 2}, s.Counts()); diff != "" {
		t.Error(diff)
	}
	s.Write(t, "p/l/blobs/sha256/"+digest.FromString("x").Encoded(), []byte{2})
	if _, changed, err := o.List(t.Context()); !changed || err != nil {
		t.Errorf("List with a new object: got changed = %t and the error %v, want true and nil", changed, err)
	}
}

// Keys that are illegal as paths are reported as problems. They are never confused with legal keys.
func TestUnusualKeys(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("modules/x")
	layer := l.Blob("application/octet-stream", []byte("layer")).Digest
	l.Write()
	s := buckettest.Start(t)
	upload(t, s, tree.Dir(), "p/")
	index := s.Read(t, "p/modules/x/index.json")
	for _, key := range []string{
		"modules//x/index.json", "modules/x//index.json", "/index.json", "modules/../x/index.json", "modules/./x/index.json", "..", "modules/y/index.json/",
		"modules/%2e%2e/z/index.json", "modules/with space/index.json", "modules/größe/index.json", "dir/",
	} {
		data := index
		if key == "dir/" {
			data = nil
		}
		s.Write(t, "p/"+key, data)
	}
	o := volume.OpenObjects(s.Open(t, "p/"), "")
	findObjects(t, o)
	listing, err := o.Layouts(t.Context())
	layouttest.Try(t, err)
	var got []string
	for _, l := range listing.Layouts {
		got = append(got, l.Path)
		if data, err := l.Index.ReadAll(t.Context()); err != nil || !bytes.Equal(data, index) {
			t.Errorf("index of %s: got %d bytes and the error %v, want the %d bytes of the index", l.Path, len(data), err, len(index))
		}
	}
	if diff := cmp.Diff([]string{"modules/%2e%2e/z", "modules/größe", "modules/with space", "modules/x"}, got); diff != "" {
		t.Error(diff)
	}
	var problems []string
	for _, p := range listing.Problems {
		problems = append(problems, p.Reason)
	}
	if len(problems) != 7 || slices.ContainsFunc(problems, func(r string) bool { return !strings.Contains(r, "is not read: a key with the element") }) {
		t.Errorf("got the problems %q, want 7 about an illegal element of a key", problems)
	}
	if where, err := o.Locate(t.Context(), "modules/x", layer); err != nil {
		t.Errorf("Locate in modules/x: got %v and the error %v, want no error", where, err)
	}
	for _, layout := range []string{"modules//x", "modules/y", "modules/../x", "modules/./x", "/modules/x", "modules/x/"} {
		if where, err := o.Locate(t.Context(), layout, layer); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Locate in %s: got %v and the error %v, want ErrNotExist", layout, where, err)
		}
	}
}

// Very many objects in a directory do not displace the objects that an inventory may list.
func TestCrowdedBucketKeepsListedObjects(t *testing.T) {
	var r listed
	for i := range 100_001 {
		r = append(r, bucket.Object{Key: fmt.Sprintf("documents/%d", i), ETag: "e"})
	}
	wanted := []string{"bundle.json", "loose/oci-layout", "platform.tar"}
	for _, key := range wanted {
		r = append(r, bucket.Object{Key: key, Size: 5, ETag: "e"})
	}
	o := volume.OpenObjects(r, "")
	findObjects(t, o)
	for _, key := range wanted {
		if got := o.Files()[key]; got.Size != 5 {
			t.Errorf("the object %s: got %+v, want one of 5 bytes", key, got)
		}
	}
	if n := o.Forgotten(); n != 1 {
		t.Errorf("%d objects are forgotten, want 1", n)
	}
}

// Unusual ETags are stored unchanged.
func TestUnusualETags(t *testing.T) {
	for _, etag := range []string{
		"d41d8cd98f00b204e9800998ecf8427e", "d41d8cd98f00b204e9800998ecf8427e-17", "d41d8cd98f00b204e9800998ecf8427e-017", "d41d8cd98f00b204e9800998ecf8427e-0",
		"D41D8CD98F00B204E9800998ECF8427E", "x", "d41d8cd98f00b204e9800998ecf8427", "d41d8cd98f00b204e9800998ecf8427e-", "d41d8cd98f00b204e9800998ecf8427e-99999999999", "",
	} {
		d := digest.FromString("blob")
		r := listed{{Key: "index.json", ETag: "i"}, {Key: "blobs/sha256/" + d.Encoded(), Size: 5, ETag: etag}}
		where, err := volume.OpenObjects(r, "").Locate(t.Context(), ".", d)
		layouttest.Try(t, err)
		if _, o, ok := volume.ObjectOf(where); !ok || o.ETag != etag || o.Size != 5 || o.Key != r[1].Key {
			t.Errorf("object with the ETag %q: got %+v, %t; want the same ETag, 5 bytes and the key of the blob", etag, o, ok)
		}
	}
}

// If an object has changed or is gone, its new state is never read, even if the change happens
// during a download.
func TestChangedObjects(t *testing.T) {
	d := digest.FromString("blob")
	key := "blobs/sha256/" + d.Encoded()
	for name, change := range map[string]func(s *buckettest.Server){
		"replaced": func(s *buckettest.Server) { s.Write(t, key, bytes.Repeat([]byte("b"), 1000)) },
		"longer":   func(s *buckettest.Server) { s.Write(t, key, bytes.Repeat([]byte("a"), 1001)) },
		"removed":  func(s *buckettest.Server) { s.Remove(t, key) },
	} {
		s := buckettest.Start(t)
		s.Write(t, "index.json", []byte("{}"))
		s.Write(t, key, bytes.Repeat([]byte("a"), 1000))
		o := volume.OpenObjects(s.Open(t, ""), "")
		where, err := o.Locate(t.Context(), ".", d)
		layouttest.Try(t, err)
		r, err := where.OpenRange(t.Context(), 0, 500)
		layouttest.Try(t, err)
		change(s)
		n, err := io.Copy(io.Discard, struct{ io.Reader }{r})
		if n != 500 || !errors.Is(err, extent.ErrStale) || !strings.Contains(err.Error(), "s3://"+buckettest.Bucket+"/"+key) {
			t.Errorf("object %s during the download: got %d bytes and the error %v, want 500 and ErrStale", name, n, err)
		}
		r.Close()
		if _, err := where.Open(t.Context()); !errors.Is(err, extent.ErrStale) {
			t.Errorf("object %s before the download: got the error %v, want ErrStale", name, err)
		}
	}
}

// If the bucket is unreachable, an object never looks missing. The error keeps its kind, so that
// callers can distinguish an outage from a missing object.
func TestUnreachableBucketIsNotMissingObject(t *testing.T) {
	s := buckettest.Start(t)
	d := digest.FromString("blob")
	s.Write(t, "index.json", []byte("{}"))
	s.Write(t, "blobs/sha256/"+d.Encoded(), []byte("blob"))
	o := volume.OpenObjects(s.Open(t, ""), "")
	findObjects(t, o)
	s.Unreachable()
	where, err := o.Locate(t.Context(), ".", d)
	layouttest.Try(t, err)
	if _, err := where.Open(t.Context()); !volume.IsExhausted(err) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, extent.ErrStale) {
		t.Errorf("Open during an outage: got %v; want IsExhausted to be true, and neither ErrNotExist nor ErrStale", err)
	}
	if _, _, err := o.List(t.Context()); !volume.IsExhausted(err) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("List during an outage: got %v; want IsExhausted to be true, and not ErrNotExist", err)
	}
	s.Fail(nil)
	if data, err := where.ReadAll(t.Context()); err != nil || string(data) != "blob" {
		t.Errorf("after the outage: read %q with the error %v, want the content blob and no error", data, err)
	}
}

// An index beside an archive is used instead of reading the headers, but only if it was made from
// exactly the same objects. A wrong index is ignored and replaced.
func TestIndexBesideAnArchive(t *testing.T) {
	for name, cut := range map[string]func(t *testing.T, file string){"archive": func(*testing.T, string) {}, "chunks": splitting(3000)} {
		t.Run(name, func(t *testing.T) {
			write := func(s *buckettest.Server, content string) digest.Digest {
				tree, dir := layouttest.New(t, t.TempDir()), t.TempDir()
				l := tree.Layout("a")
				layer := l.Blob("application/octet-stream", bytes.Repeat([]byte(content), 5000)).Digest
				l.Write()
				tree.Archive(filepath.Join(dir, "a.tar"), layouttest.Archive{})
				cut(t, filepath.Join(dir, "a.tar"))
				upload(t, s, dir, "p/")
				return layer
			}
			s := buckettest.Start(t)
			reader := s.Open(t, "p/")
			check := func(what string, layer digest.Digest, cold bool) *volume.Archive {
				t.Helper()
				s.ResetCounts()
				a := whole(t, openObjectArchive(t, reader, ""))
				if got := s.Requests(); !cold && (len(got) != 2 || got[1].Key != "p/"+volume.IndexKey("a.tar")) {
					t.Errorf("%s: opening the archive sent %+v, want two requests: a list, and a GET of the index", what, got)
				}
				where, err := a.Locate(t.Context(), "a", layer)
				layouttest.Try(t, err)
				if data, err := where.ReadAll(t.Context()); err != nil || digest.FromBytes(data) != layer {
					t.Errorf("%s: got %d bytes and the error %v, want the content of the layer", what, len(data), err)
				}
				s.ResetCounts()
				if err := a.WriteIndex(t.Context()); err != nil {
					t.Errorf("%s: WriteIndex: got the error %v, want nil", what, err)
				}
				if n := s.Counts()[buckettest.Put]; (n == 1) != cold || n > 1 {
					t.Errorf("%s: WriteIndex wrote the index %d times; want it written once: %v", what, n, cold)
				}
				return a
			}
			one := write(s, "1")
			check("without an index", one, true)
			index := s.Read(t, "p/"+volume.IndexKey("a.tar"))
			check("with an index", one, false)
			for what, wrong := range map[string][]byte{"cut": index[:len(index)-1], "empty": {}, "other": []byte("other"), "changed": append([]byte("x"), index[1:]...)} {
				s.Write(t, "p/"+volume.IndexKey("a.tar"), wrong)
				check(what, one, true)
				check("after "+what, one, false)
			}
			two := write(s, "2")
			check("with the index of another archive", two, true)
			check("with the index of the new archive", two, false)
		})
	}
}

// WriteIndex writes no index for an incomplete archive, and fails for a bucket that is opened only
// for reading.
func TestIndexIsNotWritten(t *testing.T) {
	tree, dir := layouttest.New(t, t.TempDir()), t.TempDir()
	tree.Layout("a").Write()
	file := filepath.Join(dir, "a.tar")
	tree.Archive(file, layouttest.Archive{})
	s := buckettest.Start(t)
	upload(t, s, dir, "")
	if err := openObjectArchive(t, struct{ bucket.Reader }{s.Open(t, "")}, "").WriteIndex(t.Context()); err == nil {
		t.Error("WriteIndex in a read-only bucket: got no error, want one")
	}
	a := openObjectArchive(t, s.Open(t, ""), "")
	s.Unreachable()
	if err := a.WriteIndex(t.Context()); !errors.Is(err, bucket.ErrUnreachable) {
		t.Errorf("WriteIndex during an outage: got %v, want ErrUnreachable", err)
	}
	s.Fail(nil)
	s.Write(t, "a.tar", s.Read(t, "a.tar")[:600])
	if err := openObjectArchive(t, s.Open(t, ""), "").WriteIndex(t.Context()); err != nil {
		t.Errorf("WriteIndex of an incomplete archive: got the error %v, want nil", err)
	}
	if keys := s.Keys(t, "."); len(keys) > 0 {
		t.Errorf("WriteIndex wrote the keys %v, want none", keys)
	}
}
