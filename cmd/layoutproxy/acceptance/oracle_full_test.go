//go:build full

package acceptance

import (
	"os"
	"path/filepath"
	"testing"
)

// Images from podman save are served unchanged, from a directory and from an archive.
func TestPodmanSavedImagesMatchOracle(t *testing.T) {
	a := newApp(t, "saved")
	source := serve(t, a.dir, "--root-repository", "")
	e := newEngine(t, "podman", mirrored(source.registry))
	e.run(t, "pull", e.policy(), mirroredHost+"/app:flat")
	for name, save := range map[string]func(dir string){
		"a directory": func(dir string) {
			must(t, os.Mkdir(filepath.Join(dir, "app"), 0o755))
			e.run(t, "save", "--format", "oci-dir", "-o", filepath.Join(dir, "app"), mirroredHost+"/app:flat")
		},
		"an archive": func(dir string) {
			e.run(t, "save", "--format", "oci-archive", "-o", filepath.Join(dir, "app.tar"), mirroredHost+"/app:flat")
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			save(dir)
			o := readBundle(t, dir, "saved")
			if tags, manifests, blobs := o.size(); len(o) != 1 || tags != 1 || manifests != 1 || blobs < 3 {
				t.Errorf("got an oracle of %s; want 1 repository, 1 tag, 1 manifest and at least 3 blobs", o)
			}
			o.check(t, serve(t, dir, "--root-repository", "saved"))
		})
	}
}
