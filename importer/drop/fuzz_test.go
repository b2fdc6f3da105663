package drop

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// FuzzSavedState checks that a valid state stays the same when it is written and read again. A damaged state
// must be refused. If it was read as an empty state, all bundles would be imported again.
func FuzzSavedState(f *testing.F) {
	f.Add([]byte(`{"a.tar":{"identity":"1","status":{"name":"a.tar"},"leaving":{"kind":"archive","name":"a.tar","to":"done","moved":[{"name":"a.tar"}]}}}`))
	f.Add([]byte(`{"a":{"leaving":{"files":[{"name":"a\u0000"}]}}}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{}{`))
	f.Fuzz(func(t *testing.T, data []byte) {
		note := publish.Note{Store: t.TempDir(), Name: "dropped.json", Max: maxSavedState}
		if err := os.MkdirAll(filepath.Join(note.Store, journal.Dir), 0o755); err != nil {
			t.Fatal(err)
		}
		write := func(data []byte) {
			if err := os.WriteFile(note.Path(), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write(data)
		s, err := readState(note)
		if err != nil {
			return
		}
		if s == nil || !json.Valid(data) {
			t.Fatalf("readState of the damaged state %q: got %v and no error, want an error", data, s)
		}
		again, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		write(again)
		if twice, err := readState(note); err != nil || !cmp.Equal(s, twice, cmp.AllowUnexported(savedBundle{}, savedMove{})) {
			t.Errorf("the state %q was written as %q; reading this: got %v and error %v, want the same state", data, again, twice, err)
		}
	})
}
