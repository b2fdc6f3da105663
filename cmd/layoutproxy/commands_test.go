package main

import "testing"

// No two commands have the same name: cobra would list the second one, but never run it.
func TestCommandNamesAreUnique(t *testing.T) {
	root, _ := newRoot()
	seen := map[string]bool{}
	for _, c := range root.Commands() {
		if seen[c.Name()] {
			t.Errorf("two commands have the name %s, want one", c.Name())
		}
		seen[c.Name()] = true
	}
	for _, name := range []string{"serve", "list", "verify", "ready", "push", "import", "mirror-config", "doctor", "version"} {
		if !seen[name] {
			t.Errorf("newRoot() has no command %s, want one", name)
		}
	}
}
