package main

import "testing"

// Each command is there once: a second one of a name would be listed and never run.
func TestCommandsAreThereOnce(t *testing.T) {
	root, _ := newRoot()
	seen := map[string]bool{}
	for _, c := range root.Commands() {
		if seen[c.Name()] {
			t.Errorf("%s is there twice", c.Name())
		}
		seen[c.Name()] = true
	}
	for _, name := range []string{"serve", "list", "verify", "ready", "push", "import", "mirror-config", "doctor", "version"} {
		if !seen[name] {
			t.Errorf("there is no %s", name)
		}
	}
}
