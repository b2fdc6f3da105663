// Vulndb makes the database that govulncheck reads (https://go.dev/doc/security/vuln/database). It
// converts the reports in the Go module golang.org/x/vulndb, which the Go security team publishes.
// Use it on machines that reach the module proxy but not vuln.go.dev.
//
//	vulndb DATA/OSV OUT
package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// report contains the fields of an OSV entry that the index of the database needs.
type report struct {
	ID       string    `json:"id"`
	Modified time.Time `json:"modified"`
	Affected []struct {
		Package struct{ Name string } `json:"package"`
	} `json:"affected"`
}

// vuln is an entry of the index, without the optional field "fixed". If a version is not older than
// "fixed", govulncheck reads no report. But many reports have a range of affected versions after the
// latest fix. Without the field, govulncheck reads the ranges in the report (x/vuln,
// internal/client/client.go, byModule).
type vuln struct {
	ID       string    `json:"id"`
	Modified time.Time `json:"modified"`
}

type module struct {
	Path  string `json:"path"`
	Vulns []vuln `json:"vulns"`
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: vulndb DATA/OSV OUT")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "vulndb:", err)
		os.Exit(1)
	}
}

// write writes the database to a directory.
func write(osv, out string) error {
	files, err := filepath.Glob(filepath.Join(osv, "GO-*.json"))
	if err != nil {
		return err
	}
	if len(files) < 1000 {
		return fmt.Errorf("%s contains only %d reports, so it is not the vulnerability database", osv, len(files))
	}
	modules := map[string][]vuln{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var r report
		if err := json.Unmarshal(data, &r); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := put(filepath.Join(out, "ID", r.ID+".json"), json.RawMessage(data)); err != nil {
			return err
		}
		for _, a := range r.Affected {
			modules[a.Package.Name] = append(modules[a.Package.Name], vuln{r.ID, r.Modified})
		}
	}
	index := make([]module, 0, len(modules))
	for path, vulns := range modules {
		index = append(index, module{path, vulns})
	}
	slices.SortFunc(index, func(a, b module) int { return cmp.Compare(a.Path, b.Path) })
	if err := put(filepath.Join(out, "index", "modules.json"), index); err != nil {
		return err
	}
	fmt.Printf("%d reports\n", len(files))
	// The module does not say when its reports were published, so "modified" is the zero time.
	return put(filepath.Join(out, "index", "db.json"), map[string]time.Time{"modified": {}})
}

// put writes a value to a file as JSON.
func put(file string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}
