package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// helpOf returns what a command prints for --help.
func helpOf(t *testing.T, command ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if status := run(t.Context(), append(command, "--help"), &out, &errs); status != 0 || errs.Len() > 0 {
		t.Fatalf("%s --help: status %d, %s", command, status, errs.String())
	}
	return out.String()
}

// checkWidth reports lines of a help that are too long.
func checkWidth(t *testing.T, name, help string) {
	t.Helper()
	for line := range strings.Lines(help) {
		if utf8.RuneCountInString(strings.TrimRight(line, "\n")) > 100 {
			t.Errorf("%s --help: a line of more than 100 columns: %s", name, line)
		}
	}
}

// The help of each command has an example, and is about the command itself. No help, not even that
// of the program, is wider than 100 columns.
func TestHelp(t *testing.T) {
	root, _ := newRoot()
	for _, c := range root.Commands() {
		text := helpOf(t, c.Name())
		if _, examples, _ := strings.Cut(text, "\nExamples:\n"); !strings.Contains(examples, "  layoutproxy "+c.Name()) {
			t.Errorf("%s --help has no example", c.Name())
		}
		checkWidth(t, c.Name(), text)
	}
	checkWidth(t, root.Name(), helpOf(t))
	for line := range strings.Lines(helpOf(t, "verify")) {
		if strings.Contains(strings.ToLower(line), "push only") {
			t.Errorf("verify --help mentions a push: %s", line)
		}
	}
}

// The help of serve shows each flag in a group, with its environment variable.
func TestHelpOfServe(t *testing.T) {
	text := helpOf(t, "serve")
	for _, group := range []string{"\nAddresses:\n", "\nPush to another registry:\n", "\nOutput:\n"} {
		if !strings.Contains(text, group) {
			t.Errorf("no group %q", group)
		}
	}
	if strings.Contains(text, "\nFlags:\n") {
		t.Error("a flag of serve is in no group: add it to flagGroups of internal/settings")
	}
	root, _ := newRoot()
	serve, _, err := root.Find([]string{"serve"})
	layouttest.Try(t, err)
	serve.Flags().VisitAll(func(f *pflag.Flag) {
		variable := "$LAYOUTPROXY_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_")) + "]"
		if f.Name != "help" && !strings.Contains(text, variable) {
			t.Errorf("--%s: the help does not name %s", f.Name, variable)
		}
	})
}
