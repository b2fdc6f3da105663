package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// Each threat in docs/threat-model.md names at least one test, and all tests that the page names
// exist. The page lists each fuzz target.
func TestThreatsHaveTests(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../docs/threat-model.md")
	layouttest.Try(t, err)
	page := string(data)
	exists := testFunctions(t, "../..")
	reference := regexp.MustCompile("`([\\w./-]+\\.(?:Test|Fuzz)\\w+)`")
	for _, m := range reference.FindAllStringSubmatch(page, -1) {
		if !exists[m[1]] {
			t.Errorf("docs/threat-model.md names the test %s, which does not exist, want only existing tests", m[1])
		}
	}
	threats := 0
	for _, row := range regexp.MustCompile(`(?m)^\| [A-Z]\d+\. .*$`).FindAllString(page, -1) {
		threats++
		cells := strings.Split(row, " | ")
		if len(cells) != 3 || !reference.MatchString(cells[len(cells)-1]) {
			t.Errorf("docs/threat-model.md has the row %q, want a threat, a defence and a test", row)
		}
	}
	if threats < 40 {
		t.Errorf("found %d threats in docs/threat-model.md, want at least 40", threats)
	}
	_, parsers, _ := strings.Cut(page, "## Parsers and their fuzz targets")
	var missing []string
	for name := range exists {
		if strings.Contains(name, ".Fuzz") && !strings.Contains(parsers, "`"+name+"`") {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	if len(missing) > 0 {
		t.Errorf("docs/threat-model.md does not list the fuzz targets %q, want all", missing)
	}
}

func testFunctions(t *testing.T, root string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	layouttest.Try(t, filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (e.Name() == "testdata" || e.Name() == ".git"):
			return filepath.SkipDir
		case e.IsDir() || !strings.HasSuffix(name, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(name))
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			all[filepath.ToSlash(dir)+"."+m[1]] = true
		}
		return err
	}))
	return all
}
