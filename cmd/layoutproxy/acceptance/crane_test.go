package acceptance

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
)

// TestCraneValidates runs crane validate, which also reads the layers, on every image of the
// sample.
func TestCraneValidates(t *testing.T) {
	crane, s := tool(t, "crane"), serve(t, bundleDir)
	validated := 0
	for _, i := range sample(t) {
		if !isImage(t, i) {
			continue
		}
		reference := i.reference(s)
		if out := run(t, crane, "validate", "--remote", reference); !strings.HasPrefix(out, "PASS: "+reference) {
			t.Errorf("%s: %q", i.name(), out)
		}
		validated++
	}
	if validated < 40 {
		t.Errorf("%d images in the sample", validated)
	}
}

// isImage reports whether i is an image or an index. crane cannot validate the layers of other
// artifacts.
func isImage(t *testing.T, i image) bool {
	t.Helper()
	if i.discovery() {
		return true
	}
	for _, layer := range parse(t, blob(t, i.layout(), i.digest)).Layers {
		if !images.IsLayerType(layer.MediaType) {
			return false
		}
	}
	return true
}

func TestCraneManifestAndDigest(t *testing.T) {
	crane, s := tool(t, "crane"), serve(t, bundleDir)
	for _, i := range sample(t) {
		if got := strings.TrimSpace(run(t, crane, "digest", i.reference(s))); got != i.digest.String() {
			t.Errorf("%s: %s, want %s", i.name(), got, i.digest)
		}
		if i.discovery() {
			continue
		}
		want := string(blob(t, i.layout(), i.digest))
		if got := run(t, crane, "manifest", i.reference(s)); got != want {
			t.Errorf("%s: %q, want %q", i.name(), got, want)
		}
	}
}

func TestCraneLs(t *testing.T) {
	crane, s, images := tool(t, "crane"), serve(t, bundleDir), sample(t)
	for _, repository := range repositories(images) {
		got := strings.Fields(run(t, crane, "ls", s.registry+"/"+repository))
		compareLines(t, repository, got, tags(images, repository))
	}
}

func TestCraneCatalog(t *testing.T) {
	crane, s := tool(t, "crane"), serve(t, bundleDir)
	got := strings.Fields(run(t, crane, "catalog", s.registry))
	compareLines(t, "catalog", got, repositories(sample(t)))
}

// TestCranePullsDiscoveryTags pulls discovery tags. No layout contains them, so the test compares
// the content with the digest and size in the list.
func TestCranePullsDiscoveryTags(t *testing.T) {
	crane, s := tool(t, "crane"), serve(t, bundleDir)
	tags := discoveryTags(t)
	if len(tags) < 4 {
		t.Errorf("%d discovery tags", len(tags))
	}
	for _, i := range tags {
		dir := filepath.Join(t.TempDir(), "pulled")
		run(t, crane, "pull", "--format", "oci", i.reference(s), dir)
		checkDiscovery(t, i, contentOf(t, layout(dir), i.digest))
	}
}

// checkDiscovery checks the content that a client pulled for a discovery tag.
func checkDiscovery(t *testing.T, i image, got contents) {
	t.Helper()
	if size := int64(len(got[i.digest])); size != i.size {
		t.Errorf("%s: manifest of %d bytes, listed are %d", i.name(), size, i.size)
	}
	if len(got) != 3 {
		t.Errorf("%s: %d blobs, want manifest, config and layer", i.name(), len(got))
	}
}
