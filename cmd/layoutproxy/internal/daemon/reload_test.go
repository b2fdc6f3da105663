package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// A reload does not apply a changed cache directory or settle time, not even to new sources. The log says that
// these need a restart.
func TestReloadKeepsCacheDirAndSettle(t *testing.T) {
	base := t.TempDir()
	config, cache := filepath.Join(base, "config.yaml"), filepath.Join(base, "cache")
	archive := func(file, name string) {
		t.Helper()
		tree := layouttest.New(t, t.TempDir())
		l := tree.Layout(name)
		l.Tag(l.Image(layouttest.Image{Name: name}), "v1")
		l.Write()
		tree.Archive(filepath.Join(base, file), layouttest.Archive{})
	}
	write := func(source, cache, settle string) {
		t.Helper()
		text := fmt.Appendf(nil, "root-repository: ''\nsources: [%s]\ncache-dir: %s\nsettle: %s\n", filepath.Join(base, source), cache, settle)
		layouttest.Try(t, os.WriteFile(config, text, 0o644))
	}
	cached := func() int {
		t.Helper()
		indexes, err := filepath.Glob(filepath.Join(cache, "*.index"))
		layouttest.Try(t, err)
		return len(indexes)
	}
	archive("one/a.tar", "app")
	archive("two/b.tar", "other")
	write("one", cache, "0s")
	s := runningWith(t, "--config", config, "--rescan", "0")
	layouttest.Eventually(t, "the index of the first source is cached", func() bool { return cached() == 1 })

	write("two", filepath.Join(base, "new"), "1h")
	s.reload(t.Context())
	if _, err := s.live.Snapshot().Repository("other"); err != nil {
		t.Fatalf("a repository of the new source: got the error %v, want none", err)
	}
	layouttest.Eventually(t, "the index of the new source is in the old cache directory", func() bool { return cached() == 2 })
	archive("two/c.tar", "more")
	layouttest.Eventually(t, "a new archive is read after the old settle time", func() bool {
		s.live.rescan(t.Context())
		_, err := s.live.Snapshot().Repository("more")
		return err == nil
	})
}
