package containerd

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// FuzzConfig checks that any file is either accepted or refused as invalid. In the result for an
// accepted hosts.toml, each host occurs once, and the paths of files are absolute.
func FuzzConfig(f *testing.F) {
	files, err := filepath.Glob("testdata/*.toml")
	if err != nil || len(files) < 5 {
		f.Fatalf("found %d seed files, want at least 5: %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("version = 3\nimports = [\"[\"]\ndisabled_plugins = \"cri\"\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = 'a:b'\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		file := filepath.Join(t.TempDir(), "config.toml")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := readConfig(file); err == nil && c.File != file {
			t.Errorf("readConfig returned %+v, want the name of the read file in File", c)
		}
		h, err := readHosts(file)
		if err != nil {
			return
		}
		var names []string
		for _, host := range h.Hosts {
			names = append(names, host.Name)
			if slices.ContainsFunc(host.Files, func(name string) bool { return !filepath.IsAbs(name) }) {
				t.Errorf("readHosts returned the files %q, want only absolute paths", host.Files)
			}
		}
		slices.Sort(names)
		if len(slices.Compact(slices.Clone(names))) != len(names) {
			t.Errorf("readHosts returned the hosts %q, want each host once", names)
		}
	})
}
