package main

import "testing"

// No two commands have the same name: the second one would be listed, but never run.
func TestCommandNamesAreUnique(t *testing.T) {
	root, _ := newRoot()
	seen := map[string]bool{}
	for _, c := range root.Commands() {
		if seen[c.Name()] {
			t.Errorf("two commands are named %s", c.Name())
		}
		seen[c.Name()] = true
	}
	for _, name := range []string{"serve", "list", "verify", "ready", "push", "import", "mirror-config", "doctor", "version"} {
		if !seen[name] {
			t.Errorf("there is no %s", name)
		}
	}
}
