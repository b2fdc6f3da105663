package fileid_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/fileid"
)

func stat(t *testing.T, file string) fs.FileInfo {
	t.Helper()
	info, err := os.Lstat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// A set contains a file under all of its names. When the file is written, replaced or forgotten,
// the set no longer contains it.
func TestSetOfFiles(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	for name, change := range map[string]func(*fileid.Set) error{
		"another size": func(*fileid.Set) error { return os.WriteFile(file, []byte("longer"), 0o644) },
		"another time": func(*fileid.Set) error { return os.Chtimes(file, time.Time{}, time.Unix(1, 0)) },
		"replaced": func(*fileid.Set) error {
			if err := os.WriteFile(file+".new", []byte("x"), 0o644); err != nil {
				return err
			}
			return os.Rename(file+".new", file)
		},
		"forgotten": func(s *fileid.Set) error { s.Forget(stat(t, file)); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			os.Remove(link)
			if err := os.WriteFile(file, []byte("x"), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Link(file, link); err != nil {
				t.Fatal(err)
			}
			var s fileid.Set
			if s.Has(stat(t, file)) || s.Len() != 0 {
				t.Error("an empty set contains a file, want none")
			}
			s.Add(stat(t, dir))
			s.Add(stat(t, file))
			if !s.Has(stat(t, link)) || s.Has(stat(t, dir)) || s.Len() != 1 {
				t.Errorf("got a set of %d files, want one: the file, under both of its names", s.Len())
			}
			if err := change(&s); err != nil {
				t.Fatal(err)
			}
			if s.Has(stat(t, file)) {
				t.Error("after the change, Has(file) = true, want false")
			}
		})
	}
}
