package journal_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// A state in an unknown format must be refused. The error must never be ErrNotStore.
func FuzzState(f *testing.F) {
	f.Add([]byte(`{"format":1,"generation":7,"packed":[{"file":"a.tar","name":"a.tar","generation":7}]}`))
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte(`{"format":1,"packed":[{"file":"../../etc/passwd"}]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		file := filepath.Join(dir, journal.StateFile)
		layouttest.Try(t, os.MkdirAll(filepath.Dir(file), 0o755))
		layouttest.Try(t, os.WriteFile(file, data, 0o600))
		s, err := journal.ReadState(dir)
		if err == nil && s.Format != journal.Format {
			t.Errorf("ReadState(%q): got a state of format %d, want an error or format 1", data, s.Format)
		}
		if errors.Is(err, journal.ErrNotStore) {
			t.Errorf("ReadState(%q): got the error %v, want an error other than ErrNotStore", data, err)
		}
	})
}
