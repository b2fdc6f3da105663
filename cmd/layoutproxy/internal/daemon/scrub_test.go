package daemon

import (
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/importer/verify"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// A position that was read from any scrub file stays the same if it is written and read again.
func FuzzScrubPosition(f *testing.F) {
	for _, s := range []string{
		"", "{}", "null", `{"repository":"app","path":"/media/a.tar","entry":"app","digest":"sha256:00"}`,
		`{"repository":"app","ended":"2026-11-28T03:30:00Z"}`, `{"ended":"yesterday"}`, `{"repository":7}`, `[{}]`, "{\"entry\":\"\xff\"}", `{"Repository":"a","repository":"b"} x`,
	} {
		f.Add([]byte(s))
	}
	file := scrubFile(filepath.Join(f.TempDir(), "position.scrub"))
	f.Fuzz(func(t *testing.T, data []byte) {
		layouttest.WriteFile(t, string(file), data)
		at := file.read(zap.NewNop())
		file.write(zap.NewNop(), at)
		if again := file.read(zap.NewNop()); again.Position != at.Position || !again.Ended.Equal(at.Ended) {
			t.Fatalf("scrub file %q: after writing and reading the position again, got %+v, want %+v", data, again, at)
		}
	})
}

// If the scrub file is too long, unreadable or missing, the scrub starts over.
func TestScrubStartsOverWithInvalidFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	long := scrubFile(filepath.Join(dir, "long.scrub"))
	layouttest.WriteFile(t, string(long), append([]byte(`{"repository":"app"}`), make([]byte, maxScrubRecord)...))
	for _, file := range []scrubFile{long, scrubFile(dir), scrubFile(filepath.Join(dir, "missing"))} {
		if at := file.read(zap.NewNop()); at != (scrubRecord{verify.Position{}, time.Time{}}) {
			t.Errorf("%s is read as %+v, want the position of the start", file, at)
		}
	}
}

// The scrub file of a relative source depends on the working directory. The scrub file of an
// absolute path or a bucket does not.
func TestScrubFileDependsOnWorkingDirectory(t *testing.T) {
	for _, test := range []struct {
		source    string
		different bool
	}{{"bundle", true}, {"/media/bundle", false}, {"s3://mirror/bundle", false}} {
		t.Chdir(t.TempDir())
		first := scrubState("/cache", []string{test.source})
		t.Chdir(t.TempDir())
		if different := scrubState("/cache", []string{test.source}) != first; different != test.different {
			t.Errorf("source %s: scrub file depends on the working directory: got %v, want %v", test.source, different, test.different)
		}
	}
}
