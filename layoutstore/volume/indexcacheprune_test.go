package volume_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

const day = 24 * time.Hour

// cacheIndex caches the index of the only archive in dir, and returns the path of the index.
func cacheIndex(t *testing.T, dir string, cache volume.Cache) string {
	t.Helper()
	before := map[string]bool{}
	entries, _ := os.ReadDir(string(cache))
	for _, e := range entries {
		before[e.Name()] = true
	}
	openArchive(t, dir, cache).SaveIndex(cache)
	entries, err := os.ReadDir(string(cache))
	layouttest.Try(t, err)
	for _, e := range entries {
		if !before[e.Name()] {
			return filepath.Join(string(cache), e.Name())
		}
	}
	t.Fatal("SaveIndex cached no index, want one")
	return ""
}

// age sets the modification time of a file back, so that it looks unused for that long.
func age(t *testing.T, file string, unused time.Duration) {
	t.Helper()
	layouttest.Try(t, os.Chtimes(file, time.Time{}, time.Now().Add(-unused)))
}

func exists(file string) bool {
	_, err := os.Lstat(file)
	return err == nil
}

func TestPruneUnusedIndexes(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	tree.Layout("app").Write()
	for name, test := range map[string]struct {
		unused time.Duration
		gone   bool // the archive is removed before the cache is pruned
		chunks bool
		// elsewhere means that the archive's directory is not in dirs.
		elsewhere bool
		// unmounted means that the directory is gone, too.
		unmounted bool
		// used means that the archive is opened before the cache is pruned.
		used       bool
		wantPruned bool
	}{
		"fresh":                                 {},
		"a week ago":                            {unused: 7*day - time.Hour, gone: true},
		"last used in the future":               {unused: -200 * day, gone: true},
		"there":                                 {unused: 89 * day},
		"there, unused":                         {unused: 91 * day, wantPruned: true},
		"archive exists and is used now":        {unused: 91 * day, used: true},
		"gone":                                  {unused: 8 * day, gone: true, wantPruned: true},
		"chunks":                                {unused: 8 * day, chunks: true},
		"chunks, gone":                          {unused: 8 * day, chunks: true, gone: true, wantPruned: true},
		"another server's":                      {unused: 89 * day, gone: true, elsewhere: true},
		"archive of another server, unused":     {unused: 91 * day, gone: true, elsewhere: true, wantPruned: true},
		"archive on a disk that is not mounted": {unused: 89 * day, gone: true, unmounted: true, elsewhere: true},
		"archive in a removed directory":        {unused: 8 * day, gone: true, unmounted: true, wantPruned: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir, cache := t.TempDir(), volume.Cache(t.TempDir())
			archive := filepath.Join(dir, "x.tar")
			tree.Archive(archive, layouttest.Archive{})
			if test.chunks {
				layouttest.Split(t, archive, 1000)
			}
			index := cacheIndex(t, dir, cache)
			age(t, index, test.unused)
			if test.used {
				openArchive(t, dir, cache)
			}
			if test.gone {
				files, _ := filepath.Glob(archive + "*")
				for _, f := range files {
					_ = os.Remove(f)
				}
			}
			if test.unmounted {
				_ = os.Remove(dir)
			}
			read := []string{dir}
			if test.elsewhere {
				read = []string{t.TempDir()}
			}
			cache.Prune(time.Now(), read)
			if pruned := !exists(index); pruned != test.wantPruned {
				t.Errorf("the index was pruned: %v, want %v", pruned, test.wantPruned)
			}
		})
	}
}

// Prune keeps files that layoutproxy did not create, however old they are.
func TestPruneKeepsOtherFiles(t *testing.T) {
	tree := layouttest.New(t, t.TempDir())
	tree.Layout("app").Write()
	dir, cache := t.TempDir(), t.TempDir()
	tree.Archive(filepath.Join(dir, "x.tar"), layouttest.Archive{})
	hex := strings.Repeat("0a", 16)
	for name, ours := range map[string]bool{
		hex + ".index": true, ".tmp-123": true,
		strings.ToUpper(hex) + ".index": false, hex[1:] + ".index": false, hex + "0.index": false, hex: false, hex + ".index.bak": false,
		"notes.index": false, ".tmp-": false, ".tmp-x": false, ".tmp": false, "tmp-1": false, "x.tar": false,
	} {
		file := filepath.Join(cache, name)
		layouttest.Try(t, os.WriteFile(file, []byte("content"), 0o600))
		age(t, file, 1000*day)
		volume.Cache(cache).Prune(time.Now(), []string{dir, cache})
		if exists(file) == ours {
			t.Errorf("%s was pruned: %v, want %v", name, !ours, ours)
		}
	}
	// Prune also keeps links and directories whose name is that of an index, and the targets of the links.
	precious := filepath.Join(t.TempDir(), "precious")
	for name, make := range map[string]func(file string) error{
		"link":      func(file string) error { return os.Symlink(precious, file) },
		"directory": func(file string) error { return os.Mkdir(file, 0o755) },
	} {
		layouttest.Try(t, os.WriteFile(precious, nil, 0o600))
		file := filepath.Join(cache, hex+".index")
		layouttest.Try(t, make(file))
		age(t, precious, 1000*day)
		volume.Cache(cache).Prune(time.Now().Add(1000*day), nil)
		if !exists(file) || !exists(precious) {
			t.Errorf("%s with the name of an index: Prune removed it or the target of the link, want both kept", name)
		}
		_ = os.Remove(file)
	}
	volume.Cache("").Prune(time.Now(), nil)
	volume.Cache(filepath.Join(cache, "missing")).Prune(time.Now(), nil)
}
