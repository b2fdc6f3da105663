//go:build full

package acceptance

import (
	"os"
	"path/filepath"
	"testing"
)

// What podman saves, as a directory and as an archive, is served as it saved it.
func TestSaved(t *testing.T) {
	a := newApp(t, "saved")
	source := serve(t, a.dir, "--root-repository", "")
	e := newEngine(t, "podman", mirrored(source.registry))
	e.run(t, "pull", e.policy(), stoodFor+"/app:flat")
	for name, save := range map[string]func(dir string){
		"a directory": func(dir string) {
			must(t, os.Mkdir(filepath.Join(dir, "app"), 0o755))
			e.run(t, "save", "--format", "oci-dir", "-o", filepath.Join(dir, "app"), stoodFor+"/app:flat")
		},
		"an archive": func(dir string) {
			e.run(t, "save", "--format", "oci-archive", "-o", filepath.Join(dir, "app.tar"), stoodFor+"/app:flat")
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			save(dir)
			o := readBundle(t, dir, "saved")
			if tags, manifests, blobs := o.size(); len(o) != 1 || tags != 1 || manifests != 1 || blobs < 3 {
				t.Errorf("the oracle knows %s", o)
			}
			s := serve(t, dir, "--root-repository", "saved")
			for _, d := range o.examine(t, "http://"+s.registry) {
				t.Error(d)
			}
		})
	}
}
