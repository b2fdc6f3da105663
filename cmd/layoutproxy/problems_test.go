package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// placeholder matches the variable parts of a reason, and the separators between parts.
var (
	placeholder = regexp.MustCompile(`NNNN|DIGEST|FILE|NAME|PATH|TAG|…|"|'.'|: |[0-9]+|\b(?:[NM]|child|blob|gunzip)\b`)
	reasonCell  = regexp.MustCompile("(?m)^\\| (`.*?) \\| ")
	quotedText  = regexp.MustCompile("`([^`]+)`")
)

// The code contains every reason in docs/problems.md.
func TestReasonsInProblemsPageExistInCode(t *testing.T) {
	page, err := os.ReadFile("../../docs/problems.md")
	layouttest.Try(t, err)
	code := goSources(t, "../../layoutstore", ".")
	reasons := 0
	for _, cell := range reasonCell.FindAllStringSubmatch(string(page), -1) {
		for _, reason := range quotedText.FindAllStringSubmatch(cell[1], -1) {
			if regexp.MustCompile(`^(layoutproxy|GET|serve|/)`).MatchString(reason[1]) {
				continue // This is a command or a URL, not a reason.
			}
			reasons++
			for _, part := range placeholder.Split(reason[1], -1) {
				if part = strings.Trim(part, " :`()"); len(part) > 3 && !ofTheSystem[part] && !strings.Contains(code, part) {
					t.Errorf("no Go file contains %q, want it: it is part of the reason %q in docs/problems.md", part, reason[1])
				}
			}
		}
	}
	if reasons < 40 {
		t.Errorf("found %d reasons in docs/problems.md, want at least 40", reasons)
	}
}

// ofTheSystem are reasons that come from the operating system, not from the code.
var ofTheSystem = map[string]bool{"permission denied": true, "input/output error": true}

func goSources(t *testing.T, dirs ...string) string {
	t.Helper()
	var all strings.Builder
	for _, dir := range dirs {
		layouttest.Try(t, filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
				return err
			}
			data, err := os.ReadFile(name)
			all.WriteString(strings.ReplaceAll(string(data), `\"`, `"`))
			return err
		}))
	}
	return all.String()
}
