package volume_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// written returns an archive that another tool wrote. See testdata/written/README.md.
func written(t testing.TB, name string) []byte {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", "written", name+".tar.gz"))
	layouttest.Try(t, err)
	defer file.Close()
	r, err := gzip.NewReader(file)
	layouttest.Try(t, err)
	data, err := io.ReadAll(r)
	layouttest.Try(t, err)
	return data
}

// openTwice opens an archive twice, first by reading its headers and then from its cached index.
func openTwice(t *testing.T, name string, data []byte, do func(t *testing.T, a *volume.Archive, problems []problem.Problem)) {
	t.Helper()
	dir, cache := t.TempDir(), volume.Cache(t.TempDir())
	layouttest.WriteFile(t, filepath.Join(dir, name), data)
	for range 2 {
		a := whole(t, openArchive(t, dir, cache))
		listing, err := a.Layouts(context.Background())
		layouttest.Try(t, err)
		do(t, a, listing.Problems)
		a.SaveIndex(cache)
	}
}

// digests reads all blobs of an archive. For each layout, it returns how many blobs match their digest.
func digests(t *testing.T, a *volume.Archive) map[string]int {
	t.Helper()
	listing, err := a.Layouts(context.Background())
	layouttest.Try(t, err)
	sound := map[string]int{}
	for _, l := range listing.Layouts {
		if index, err := l.Index.ReadAll(t.Context()); err != nil || !bytes.HasPrefix(index, []byte(`{"schemaVersion": 2`)) {
			t.Errorf("index of %s: got %.100q and the error %v, want an index of schema version 2", l.Path, index, err)
		}
		blobs, err := a.Blobs(context.Background(), l.Path)
		layouttest.Try(t, err)
		for _, d := range blobs {
			where, err := a.Locate(t.Context(), l.Path, d)
			if err != nil {
				t.Errorf("Locate of %s in %s: got the error %v, want nil", d, l.Path, err)
				continue
			}
			data, err := where.ReadAll(t.Context())
			if err != nil || d.Algorithm().FromBytes(data) != d {
				t.Errorf("%s in %s: read %d bytes with the error %v, want the content with this digest", d, l.Path, len(data), err)
				continue
			}
			sound[l.Path]++
		}
	}
	return sound
}

func TestArchivesOfOtherTools(t *testing.T) {
	long := strings.Repeat("long/", 12) + "name"
	for name, want := range map[string]map[string]int{
		"gnu-sparse-old":   {"app": 3, long: 3},
		"gnu-sparse-0.0":   {"app": 3, long: 3},
		"gnu-sparse-0.1":   {"app": 3, long: 3},
		"gnu-sparse-1.0":   {"app": 3, long: 3},
		"gnu-hardlinks":    {"app": 3, "web": 3, "z/web": 3},
		"bsdtar-hardlinks": {"app": 3, "web": 3, "z/web": 3},
		"gnu-absolute":     {"srv/mirror/app": 3},
		"gnu-sparse-holes": {"app": 3},
		"bsdtar-sparse":    {"app": 3},
	} {
		t.Run(name, func(t *testing.T) {
			openTwice(t, "bundle.tar", written(t, name), func(t *testing.T, a *volume.Archive, problems []problem.Problem) {
				if diff := cmp.Diff(want, digests(t, a)); diff != "" {
					t.Error(diff)
				}
				holes := name == "gnu-sparse-holes" || name == "bsdtar-sparse"
				if len(problems) > 0 != holes {
					t.Errorf("got the problems %v, want some if the archive has files with holes, and otherwise none", problems)
				}
				for _, f := range problems {
					if f.Kind != problem.Damaged || !strings.Contains(f.Reason, "bsdtar --no-read-sparse") || f.Harmless {
						t.Errorf("got the problem %+v; want the kind damaged, not harmless, and the advice to pack again", f)
					}
				}
			})
		})
	}
}

// A hard link leads to the file that had the name of the target when the link was written. It never
// leads to a later entry.
func TestHardLinksLeadToEarlierFiles(t *testing.T) {
	blob := "blobs/sha256/" + sumOf("abc")
	file := func(name, body string) entry { return entry{name: name, body: body} }
	link := func(name, to string) entry { return entry{name: name, link: to} }
	for name, c := range map[string]struct {
		entries []entry
		// want contains the content of the blob, by layout.
		want    map[string]string
		refused []string
	}{
		"another name":             {[]entry{file("elsewhere", "abc"), link("a/"+blob, "elsewhere")}, map[string]string{"a": "abc"}, nil},
		"link to a hidden file":    {[]entry{file(".x/y", "abc"), link("a/"+blob, ".x/y")}, map[string]string{"a": "abc"}, nil},
		"a chain":                  {[]entry{file("x", "abc"), link("y", "x"), link(".z", "y"), link("a/"+blob, ".z"), link("b/"+blob, "a/"+blob)}, map[string]string{"a": "abc", "b": "abc"}, nil},
		"spellings":                {[]entry{file("./a/"+blob, "abc"), link("b/"+blob, "a//"+blob), link("./c/"+blob, "/b/./"+blob)}, map[string]string{"a": "abc", "b": "abc", "c": "abc"}, nil},
		"itself":                   {[]entry{file("a/"+blob, "abc"), link("a/"+blob, "a/"+blob)}, map[string]string{"a": "abc"}, nil},
		"replaced later":           {[]entry{file("x", "abc"), link("a/"+blob, "x"), file("x", "other")}, map[string]string{"a": "abc"}, nil},
		"replaces":                 {[]entry{file("x", "abc"), file("a/"+blob, "other"), link("a/"+blob, "x")}, map[string]string{"a": "abc"}, nil},
		"a file replaces the link": {[]entry{file("x", "other"), link("a/"+blob, "x"), file("a/"+blob, "abc")}, map[string]string{"a": "abc"}, nil},
		"forward":                  {[]entry{link("a/"+blob, "x"), file("x", "abc")}, map[string]string{}, []string{"a/" + blob}},
		"to nothing":               {[]entry{file("a/"+blob, "abc"), link("a/"+blob, "x")}, map[string]string{}, []string{"a/" + blob}},
		"link to a symbolic link":  {[]entry{{name: "x", link: "y", symbolic: true}, link("a/"+blob, "x")}, map[string]string{}, []string{"a/" + blob, "x"}},
		"link to a refused entry":  {[]entry{file("x", "abc"), {name: "x", link: "y", symbolic: true}, link("a/"+blob, "x")}, map[string]string{}, []string{"a/" + blob, "x"}},
		"upwards":                  {[]entry{file("x", "abc"), link("a/"+blob, "../x")}, map[string]string{}, []string{"a/" + blob}},
	} {
		t.Run(name, func(t *testing.T) {
			all := slices.Clone(c.entries)
			for _, l := range []string{"a", "b", "c"} {
				all = append(all, file(l+"/index.json", "{}"))
			}
			openTwice(t, "bundle.tar", pack(t, all), func(t *testing.T, a *volume.Archive, problems []problem.Problem) {
				for _, l := range []string{"a", "b", "c"} {
					where, err := a.Locate(t.Context(), l, digestOf("abc"))
					if want, ok := c.want[l]; !ok {
						if !errors.Is(err, fs.ErrNotExist) {
							t.Errorf("Locate of the blob in %s: got the error %v, want ErrNotExist", l, err)
						}
						continue
					} else if err != nil {
						t.Errorf("Locate of the blob in %s: got the error %v, want nil", l, err)
					} else if got, err := where.ReadAll(t.Context()); err != nil || string(got) != want {
						t.Errorf("blob in %s: got %q and the error %v, want %q", l, got, err, want)
					}
				}
				var refused []string
				for _, f := range problems {
					refused = append(refused, f.Entry)
					if f.Kind != problem.Damaged || !strings.Contains(f.Reason, "link to") {
						t.Errorf("got the problem %+v, want the kind damaged and a reason about a link", f)
					}
				}
				slices.Sort(refused)
				if diff := cmp.Diff(c.refused, refused); diff != "" {
					t.Errorf("entries refused (-want +got): %s", diff)
				}
			})
		})
	}
}
