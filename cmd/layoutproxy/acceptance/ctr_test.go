package acceptance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// stoodFor is a registry that no machine finds: what comes by its name has come from
// the mirror.
const stoodFor = "registry.invalid"

// chunked packs the sample as a bundle travels, cut into chunks.
func chunked(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	layouttest.New(t, bundleDir).Bundle(dir)
	archives, err := filepath.Glob(filepath.Join(dir, "*.tar"))
	if err != nil || len(archives) == 0 {
		t.Fatalf("%v, %v", archives, err)
	}
	for _, archive := range archives {
		info, err := os.Stat(archive)
		if err != nil {
			t.Fatal(err)
		}
		layouttest.Split(t, archive, info.Size()/3+1)
	}
	return dir
}

// TestCtrPullsTheSample has the distribution's containerd pull all of the sample out
// of chunks, under the names of the registry that it was mirrored from.
func TestCtrPullsTheSample(t *testing.T) {
	s := serve(t, chunked(t))
	c := startContainerd(t, packagedRelease(t), nil)
	c.mirror(t, stoodFor, "http://"+s.registry)
	for n, i := range sample(t) {
		// Another namespace each, so that nothing is there already.
		c.ctr(t, namespace(n), "content", "fetch", "--all-platforms", "--hosts-dir", c.certs, stoodFor+"/"+i.name())
		got := c.pulled(t, i.digest)
		if i.discovery() {
			checkDiscovery(t, i, got)
		} else {
			contentOf(t, i.layout(), i.digest).compare(t, i.name(), got)
		}
	}
}

// TestCtrUnpacks pulls as a node does, with the layers made into a file system.
func TestCtrUnpacks(t *testing.T) {
	s := serve(t, chunked(t))
	c := startContainerd(t, packagedRelease(t), nil)
	c.mirror(t, stoodFor, "http://"+s.registry)
	for _, name := range []string{installer, plugin, sampleRoot + "/install:v1.69.3"} {
		reference := stoodFor + "/" + name
		c.ctr(t, "default", "images", "pull", "--hosts-dir", c.certs, reference)
		c.ctr(t, "default", "images", "check", "name=="+reference)
	}
	if left := c.ctr(t, "default", "images", "check", "--quiet"); len(strings.Fields(left)) != 3 {
		t.Errorf("whole are: %s", left)
	}
}

// TestDoctorOnANode asks about the containerd that runs, as an operator would.
func TestDoctorOnANode(t *testing.T) {
	s := serve(t, bundleDir)
	c := startContainerd(t, packagedRelease(t), nil)
	c.mirror(t, stoodFor, "http://"+s.registry)
	out := run(t, program, "doctor", "http://"+s.registry, stoodFor+"/"+plugin)
	for _, step := range []string{"tag", "manifest", "child", "blob", "hosts.toml", "containerd"} {
		if !strings.Contains(out, "ok       "+step) {
			t.Errorf("%s is not ok:\n%s", step, out)
		}
	}
	if !strings.Contains(out, filepath.Join(c.certs, stoodFor, "hosts.toml")+" leads here first") {
		t.Errorf("%s", out)
	}
}
