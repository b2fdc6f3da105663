package acceptance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// mirroredHost is the mirrored registry. Its name does not resolve, so clients use only the mirror.
const mirroredHost = "registry.invalid"

// chunked packs the sample into archives and cuts them into chunks.
func chunked(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	layouttest.New(t, bundleDir).Bundle(dir)
	archives, err := filepath.Glob(filepath.Join(dir, "*.tar"))
	if err != nil || len(archives) == 0 {
		t.Fatalf("got the archives %v and error %v, want at least one archive", archives, err)
	}
	for _, archive := range archives {
		info, err := os.Stat(archive)
		must(t, err)
		layouttest.Split(t, archive, info.Size()/3+1)
	}
	return dir
}

// TestCtrPullsTheSample pulls the complete sample with Debian's containerd. layoutproxy serves the
// images from chunks. ctr pulls them by their names in the mirrored registry.
func TestCtrPullsTheSample(t *testing.T) {
	s := serve(t, chunked(t))
	c := startContainerd(t, packagedRelease(t), nil)
	c.mirror(t, mirroredHost, "http://"+s.registry)
	for n, i := range sample(t) {
		// Each namespace starts empty, so ctr pulls all blobs of each image.
		c.ctr(t, namespace(n), "content", "fetch", "--all-platforms", "--hosts-dir", c.certs, mirroredHost+"/"+i.name())
		comparePulled(t, i, c.pulled(t, i.digest))
	}
}

// TestCtrUnpacksPulledImages pulls images with ctr images pull, which also unpacks the layers.
func TestCtrUnpacksPulledImages(t *testing.T) {
	s := serve(t, chunked(t))
	c := startContainerd(t, packagedRelease(t), nil)
	c.mirror(t, mirroredHost, "http://"+s.registry)
	for _, name := range []string{installer, plugin, sampleRoot + "/install:v1.69.3"} {
		reference := mirroredHost + "/" + name
		c.ctr(t, "default", "images", "pull", "--hosts-dir", c.certs, reference)
		c.ctr(t, "default", "images", "check", "name=="+reference)
	}
	if left := c.ctr(t, "default", "images", "check", "--quiet"); len(strings.Fields(left)) != 3 {
		t.Errorf("ctr images check lists these complete images, want 3 images: %s", left)
	}
}

// TestDoctorOnANode runs layoutproxy doctor on a machine with a running containerd.
func TestDoctorOnANode(t *testing.T) {
	s := serve(t, bundleDir)
	c := startContainerd(t, packagedRelease(t), nil)
	c.mirror(t, mirroredHost, "http://"+s.registry)
	out := run(t, program, "doctor", "http://"+s.registry, mirroredHost+"/"+plugin)
	for _, step := range []string{"tag", "manifest", "child", "blob", "hosts.toml", "containerd"} {
		if !strings.Contains(out, "ok       "+step) {
			t.Errorf("doctor does not report ok for the step %s:\n%s", step, out)
		}
	}
	if !strings.Contains(out, filepath.Join(c.certs, mirroredHost, "hosts.toml")+" points here first") {
		t.Errorf("doctor does not report that the hosts.toml of containerd points to the server first:\n%s", out)
	}
}
