package push_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/importer/push"
)

// A State removes only its own expired files, because the directory belongs to the user.
func TestStateRemovesItsOwnFilesOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const sum = "0123456789abcdef0123456789abcdef"
	keep := []string{"notes.push", "me.txt", sum, sum + "0.push", "0123456789ABCDEF0123456789ABCDEF.push", sum[:31] + "x.push", "new-" + sum + ".push"}
	old := time.Now().Add(-48 * time.Hour)
	for _, name := range append(keep, sum+".push") {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, old, old); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := push.OpenState(dir); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
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
