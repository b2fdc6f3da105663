package imagefile

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// A search remembers only removed paths that affect a requested file, because a layer may remove
// any number of paths.
func TestSearchIgnoresOtherWhiteouts(t *testing.T) {
	s := newSearch("a/b/version.json", "other")
	removed := map[string]bool{}
	for i := range 10_000 {
		layouttest.Try(t, s.searchEntry(nil, &tar.Header{Name: fmt.Sprintf("a/.wh.%d", i)}, removed))
		layouttest.Try(t, s.searchEntry(nil, &tar.Header{Name: fmt.Sprintf("%d/.wh..wh..opq", i)}, removed))
		layouttest.Try(t, s.searchEntry(nil, &tar.Header{Name: fmt.Sprintf("a/%d", i), Typeflag: tar.TypeReg}, removed))
		layouttest.Try(t, s.searchEntry(nil, &tar.Header{Name: fmt.Sprintf("a/b/%d/", i), Typeflag: tar.TypeDir}, removed))
	}
	layouttest.Try(t, s.searchEntry(nil, &tar.Header{Name: "a", Typeflag: tar.TypeXGlobalHeader}, removed)) // this entry is not a file
	for _, name := range []string{"a/.wh.b", "a/b/.wh..wh..opq", ".wh..wh..opq", "a/b/.wh.version.json"} {
		layouttest.Try(t, s.searchEntry(nil, &tar.Header{Name: name}, removed))
	}
	if got := slices.Sorted(maps.Keys(removed)); !slices.Equal(got, []string{"./", "a/b", "a/b/", "a/b/version.json"}) {
		t.Errorf("the search remembers %d paths, want 4: %.200q", len(got), got)
	}
}

// If a layer unpacks to more than the limit, the search fails.
func TestUnpackLimit(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range []string{"large", "version.json"} {
		layouttest.Try(t, w.WriteHeader(&tar.Header{Name: name, Size: 10_000, Typeflag: tar.TypeReg}))
		_, err := w.Write(make([]byte, 10_000))
		layouttest.Try(t, err)
	}
	layouttest.Try(t, w.Close())
	for limit, want := range map[int64]string{5_000: "it unpacks to more than 5000 bytes", 15_000: "it unpacks to more than 15000 bytes", 30_000: ""} {
		s := newSearch("version.json")
		s.limit = limit
		err := s.searchLayer(bytes.NewReader(b.Bytes()))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("limit of %d bytes: got the error %v, want %q", limit, err, want)
		}
	}
}

// A search and archive/tar must find the same content: that of the first entry with the requested name.
func FuzzLayer(f *testing.F) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range []string{"a", "./version.json", ".wh.version.json", "x/.wh..wh..opq"} {
		if w.WriteHeader(&tar.Header{Name: name, Size: 3, Typeflag: tar.TypeReg}) != nil {
			f.Fatal(name)
		}
		_, _ = w.Write([]byte("abc"))
	}
	_ = w.Close()
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:700])
	f.Add([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newSearch("version.json")
		err := s.searchLayer(bytes.NewReader(data))
		got, ok := s.found["version.json"]
		if ok && (err != nil || len(s.missing) != 0) {
			t.Fatalf("searchLayer found the file: got error %v and the missing files %v, want none", err, s.missing)
		}
		if !ok || len(data) < 2 || data[0] == 0x1f || data[0] == 0x28 {
			return
		}
		for r := tar.NewReader(bytes.NewReader(data)); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				t.Fatal("the search found a file; want none, because archive/tar finds none")
			}
			if err != nil {
				t.Fatal(err)
			}
			if path.Clean("/"+h.Name) == "/version.json" && h.Typeflag != tar.TypeDir {
				if want, _ := io.ReadAll(r); !bytes.Equal(got, want) {
					t.Fatalf("the search found the content %q, want that of archive/tar: %q", got, want)
				}
				return
			}
		}
	})
}
