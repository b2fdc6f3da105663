//go:build unix

package volume_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// A file or directory of a source is replaced with a named pipe after it was found and before it is
// opened. If opening it waited for a writer, this test would never end.
func TestNamedPipesDoNotBlock(t *testing.T) {
	type found struct {
		replace string // the file or directory that a pipe replaces
		open    func() error
	}
	opening := func(where extent.List, err error) func() error {
		layouttest.Try(t, err)
		return func() error { return openAndClose(where) }
	}
	for name, find := range map[string]func(dir string) found{
		"index.json": func(dir string) found {
			v := openDir(t, dir)
			l, err := v.Layouts(t.Context())
			return found{"app/index.json", opening(l.Layouts[0].Index, err)}
		},
		"blob": func(dir string) found {
			v := openDir(t, dir)
			all, err := v.Blobs(t.Context(), "app")
			layouttest.Try(t, err)
			return found{"app/blobs/sha256/" + all[0].Encoded(), opening(v.Locate(t.Context(), "app", all[0]))}
		},
		"directory of blobs": func(dir string) found {
			v := openDir(t, dir)
			all, err := v.Blobs(t.Context(), "app")
			layouttest.Try(t, err)
			return found{"app/blobs/sha256", func() error { _, err := v.Locate(t.Context(), "app", all[0]); return err }}
		},
		"layout": func(dir string) found {
			v := openDir(t, dir)
			return found{"app/blobs", func() error { _, err := v.Locate(t.Context(), "app", "sha256:"+zeroDigest); return err }}
		},
		"source": func(dir string) found {
			return found{".", func() error { _, err := volume.OpenDir(dir); return err }}
		},
		"directory of archives": func(dir string) found {
			return found{".", func() error { _, err := volume.FindArchives(dir); return err }}
		},
		"archive": func(dir string) found {
			a := openArchive(t, packApp(t, dir), "")
			all, err := a.Blobs(t.Context(), "app")
			layouttest.Try(t, err)
			return found{"packed/app.tar", opening(a.Locate(t.Context(), "app", all[0]))}
		},
		"archive before its index is read": func(dir string) found {
			sets, err := volume.FindArchives(packApp(t, dir))
			layouttest.Try(t, err)
			return found{"packed/app.tar", func() error { _, err := volume.OpenArchive(t.Context(), sets.Sets[0], ""); return err }}
		},
		"chunk": func(dir string) found {
			packed := packApp(t, dir)
			layouttest.Split(t, filepath.Join(packed, "app.tar"), 4096)
			a := openArchive(t, packed, "")
			all, err := a.Blobs(t.Context(), "app")
			layouttest.Try(t, err)
			where, err := a.Locate(t.Context(), "app", all[0])
			layouttest.Try(t, err)
			name, err := filepath.Rel(dir, where[0].File.String())
			return found{name, opening(where, err)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "source")
			tree(t, dir, "app")
			f := find(dir)
			replaced := filepath.Join(dir, f.replace)
			layouttest.Try(t, os.Rename(replaced, filepath.Join(filepath.Dir(dir), "away")))
			layouttest.Try(t, layouttest.MakePipe(replaced))
			if err := f.open(); err == nil {
				t.Errorf("opening a named pipe in place of %s: got no error, want one", f.replace)
			}
		})
	}
}

const zeroDigest = "0000000000000000000000000000000000000000000000000000000000000000"

func openAndClose(where extent.List) error {
	r, err := where.Open(context.Background())
	if err == nil {
		r.Close()
	}
	return err
}

// packApp packs the layout app of a tree into an archive in the directory of the tree.
func packApp(t *testing.T, dir string) string {
	t.Helper()
	packed := filepath.Join(dir, "packed")
	layouttest.Try(t, os.MkdirAll(packed, 0o755))
	t2 := layouttest.New(t, dir)
	t2.Archive(filepath.Join(packed, "app.tar"), layouttest.Archive{Layouts: []string{"app"}})
	return packed
}
