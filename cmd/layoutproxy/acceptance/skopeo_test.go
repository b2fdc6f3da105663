package acceptance

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestSkopeoInspectsManifests(t *testing.T) {
	skopeo, s := packaged(t, "skopeo"), serve(t, bundleDir)
	for _, i := range sample(t) {
		got := run(t, skopeo, "inspect", "--raw", "--tls-verify=false", "docker://"+i.reference(s))
		if i.discovery() {
			if d := i.digest.Algorithm().FromString(got); d != i.digest {
				t.Errorf("%s: got a manifest with the digest %s, want %s", i.name(), d, i.digest)
			}
		} else if want := string(blob(t, i.layout(), i.digest)); got != want {
			t.Errorf("%s: got manifest %q, want %q", i.name(), got, want)
		}
	}
}

// TestSkopeoCopiesToLayouts skips images with Docker's media types, which skopeo would convert.
func TestSkopeoCopiesToLayouts(t *testing.T) {
	skopeo, s, images := packaged(t, "skopeo"), serve(t, bundleDir), sample(t)
	for _, name := range []string{installer, plugin, sampleRoot + "/modules/console/extra/console-ui:v2"} {
		t.Run(name, func(t *testing.T) {
			i := pick(t, images, name)
			dir := filepath.Join(t.TempDir(), "copy")
			run(t, skopeo, "--insecure-policy", "copy", "--all", "--src-tls-verify=false",
				"docker://"+i.reference(s), "oci:"+dir+":copy")
			if got := tagged(t, layout(dir), "copy"); got != i.digest {
				t.Errorf("the copy has the digest %s, want %s", got, i.digest)
			}
			contentOf(t, i.layout(), i.digest).compare(t, name, contentOf(t, layout(dir), i.digest))
		})
	}
}

// TestSkopeoCopiesToDirectories compares each file that skopeo writes with the sample. The manifest
// is in manifest.json, and the hex digest of a blob is its file name.
func TestSkopeoCopiesToDirectories(t *testing.T) {
	skopeo, s, images := packaged(t, "skopeo"), serve(t, bundleDir), sample(t)
	for _, name := range []string{installer, sampleRoot + "/install:v1.69.3", attested} {
		t.Run(name, func(t *testing.T) {
			i := pick(t, images, name)
			dir := filepath.Join(t.TempDir(), "copy")
			run(t, skopeo, "--insecure-policy", "copy", "--src-tls-verify=false",
				"docker://"+i.reference(s), "dir:"+dir)
			for d, want := range contentOf(t, i.layout(), i.digest) {
				file := d.Encoded()
				if d == i.digest {
					file = "manifest.json"
				}
				got, err := os.ReadFile(filepath.Join(dir, file))
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s: skopeo wrote a file of %d bytes, error %v; want the %d bytes of the blob", d, len(got), err, len(want))
				}
			}
		})
	}
}
