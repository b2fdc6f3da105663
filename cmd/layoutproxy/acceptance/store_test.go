package acceptance

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// TestStoreWithTwoBundles imports and serves the sample, puts a second bundle into the drop
// directory, and restarts the server. After each step, crane and containerd pull the images.
func TestStoreWithTwoBundles(t *testing.T) {
	store, in := filepath.Join(t.TempDir(), "store"), t.TempDir()
	run(t, program, "import", abs(t, bundleDir), "--store", store)
	start := func() server {
		return serve(t, "--store="+store, "--drop-dir", in, "--settle", "200ms", "--rescan", "1s")
	}
	s, c := start(), startContainerd(t, packagedRelease(t), nil)
	first := samples(t, installer, plugin, sampleRoot+":v1.70.1", sampleRoot+"/modules/console:v1.1.0")
	pulledByBoth(t, s, c, "before", first)

	second := dropBundle(t, in)
	waitForImport(t, s, "module-late.tar")
	pulledByBoth(t, s, c, "second", second)
	if _, err := os.Stat(filepath.Join(in, "done", "module-late.tar")); err != nil {
		t.Error(err)
	}

	s.end()
	pulledByBoth(t, start(), c, "after", append(first, second...))
}

// wanted is an image that a client must be able to pull, with its content.
type wanted struct {
	name    string // REPOSITORY:TAG
	digest  digest.Digest
	content contents
}

// samples returns the images of the sample with the given names, and their content.
func samples(t *testing.T, names ...string) (all []wanted) {
	t.Helper()
	images := sample(t)
	for _, name := range names {
		i := pick(t, images, name)
		all = append(all, wanted{name, i.digest, contentOf(t, i.layout(), i.digest)})
	}
	return all
}

// dropBundle writes an archive with a temporary name into a drop directory, and renames it. It
// returns the images in the archive.
func dropBundle(t *testing.T, in string) []wanted {
	t.Helper()
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("modules/late")
	image := l.Image(layouttest.Image{Name: "late", LayerSizes: []int64{1 << 20, 100}})
	index := l.Index(layouttest.Index{Children: []ocispec.Descriptor{image, l.Image(layouttest.Image{Name: "other", LayerSizes: []int64{300}})}})
	l.Tag(image, "v1")
	l.Tag(index, "multi")
	l.Write()
	name := filepath.Join(in, "module-late.tar")
	tree.Archive(name+".tmp", layouttest.Archive{})
	must(t, os.Rename(name+".tmp", name))
	from := layout(l.Dir())
	return []wanted{
		{sampleRoot + "/modules/late:v1", image.Digest, contentOf(t, from, image.Digest)},
		{sampleRoot + "/modules/late:multi", index.Digest, contentOf(t, from, index.Digest)},
	}
}

// waitForImport waits until /status reports the state published for a dropped bundle.
func waitForImport(t *testing.T, s server, name string) {
	t.Helper()
	eventually(t, name+" is published", func() (string, bool) {
		var status struct {
			Imports []struct{ Name, State string }
		}
		text := body(t, "http://"+s.admin+"/status")
		must(t, json.Unmarshal([]byte(text), &status))
		return text, slices.Contains(status.Imports, struct{ Name, State string }{name, "published"})
	})
}

// pulledByBoth fails the test unless both crane and containerd can pull all images from the server.
// containerd pulls into namespace, which must be empty.
func pulledByBoth(t *testing.T, s server, c *containerd, namespace string, all []wanted) {
	t.Helper()
	crane := tool(t, "crane")
	c.mirror(t, mirroredHost, "http://"+s.registry)
	for _, w := range all {
		dir := filepath.Join(t.TempDir(), "pulled")
		run(t, crane, "pull", "--format", "oci", s.registry+"/"+w.name, dir)
		w.content.compare(t, "crane: "+w.name, contentOf(t, layout(dir), w.digest))
		c.ctr(t, namespace, "content", "fetch", "--all-platforms", "--hosts-dir", c.certs, mirroredHost+"/"+w.name)
		w.content.compare(t, "ctr: "+w.name, c.pulled(t, w.digest))
	}
}
