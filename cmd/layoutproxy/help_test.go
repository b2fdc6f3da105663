package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

func helpOf(t *testing.T, command ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if status := run(t.Context(), append(command, "--help"), &out, &errs); status != 0 || errs.Len() > 0 {
		t.Fatalf("exit status of %s --help is %d, want 0; standard error: %s", command, status, errs.String())
	}
	return out.String()
}

// checkWidth fails the test if a line of a command's help is wider than 100 columns.
func checkWidth(t *testing.T, name, help string) {
	t.Helper()
	for line := range strings.Lines(help) {
		if utf8.RuneCountInString(strings.TrimRight(line, "\n")) > 100 {
			t.Errorf("%s --help: got the line %q, want at most 100 columns", name, line)
		}
	}
}

// The help of each command has an example, and no line is wider than 100 columns. The help of
// verify has no flags that are for push only.
func TestHelpHasExamplesAndFits(t *testing.T) {
	root, _ := newRoot()
	for _, c := range root.Commands() {
		text := helpOf(t, c.Name())
		if _, examples, _ := strings.Cut(text, "\nExamples:\n"); !strings.Contains(examples, "  layoutproxy "+c.Name()) {
			t.Errorf("%s --help has no example, want at least one", c.Name())
		}
		checkWidth(t, c.Name(), text)
	}
	checkWidth(t, root.Name(), helpOf(t))
	for line := range strings.Lines(helpOf(t, "verify")) {
		if strings.Contains(strings.ToLower(line), "push only") {
			t.Errorf("verify --help: got the line %q, want none about push", line)
		}
	}
}

// The help of serve shows each flag in a group, with its environment variable.
func TestHelpOfServeNamesGroupsAndVariables(t *testing.T) {
	text := helpOf(t, "serve")
	for _, group := range []string{"\nAddresses:\n", "\nPush to another registry:\n", "\nOutput:\n"} {
		if !strings.Contains(text, group) {
			t.Errorf("serve --help has no group %q, want one", group)
		}
	}
	if strings.Contains(text, "\nFlags:\n") {
		t.Error("serve --help has the group Flags, want each flag in another group: add the flag to flagGroups in internal/settings")
	}
	root, _ := newRoot()
	serve, _, err := root.Find([]string{"serve"})
	layouttest.Try(t, err)
	serve.Flags().VisitAll(func(f *pflag.Flag) {
		variable := "$LAYOUTPROXY_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_")) + "]"
		if f.Name != "help" && !strings.Contains(text, variable) {
			t.Errorf("serve --help: the text for --%s does not contain %s, want the environment variable", f.Name, variable)
		}
	})
}
