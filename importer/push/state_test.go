package push_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/importer/push"
	"github.com/layoutproxy/layoutproxy/layoutstore/durable"
)

// A State removes only its own expired files, because the directory belongs to the user.
func TestStateRemovesItsOwnFilesOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const sum = "0123456789abcdef0123456789abcdef"
	keep := []string{"notes.push", "me.txt", sum, sum + "0.push", "0123456789ABCDEF0123456789ABCDEF.push", sum[:31] + "x.push", "new-" + sum + ".push", "." + sum + ".push", "." + sum + ".push12x"}
	for _, name := range append(keep, sum+".push") {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	unfinished, err := durable.Create(filepath.Join(dir, sum+".push"), 0o600) // a process that is killed while it writes leaves such a file
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unfinished.Discard() })
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(keep)+2 {
		t.Fatalf("the directory has the files %v (error %v), want %d", entries, err, len(keep)+2)
	}
	old := time.Now().Add(-48 * time.Hour)
	for _, e := range entries {
		if err := os.Chtimes(filepath.Join(dir, e.Name()), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := push.OpenState(dir); err != nil {
		t.Fatal(err)
	}
	if entries, err = os.ReadDir(dir); err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	slices.Sort(keep)
	if !slices.Equal(left, keep) {
		t.Errorf("files in the directory: got %q, want %q", left, keep)
	}
}
