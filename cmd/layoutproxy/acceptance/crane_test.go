package acceptance

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
)

// TestCraneValidatesImages runs crane validate on every image. crane validate also checks layers.
func TestCraneValidatesImages(t *testing.T) {
	crane, s := tool(t, "crane"), serve(t, bundleDir)
	validated := 0
	for _, i := range sample(t) {
		if !isImage(t, i) {
			continue
		}
		reference := i.reference(s)
		if out := run(t, crane, "validate", "--remote", reference); !strings.HasPrefix(out, "PASS: "+reference) {
			t.Errorf("%s: crane validate printed %q, want \"PASS: %s\"", i.name(), out, reference)
		}
		validated++
	}
	if validated < 40 {
		t.Errorf("crane validated %d images, want at least 40", validated)
	}
}

// isImage reports whether all layers of i are image layers. crane cannot validate other artifacts.
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
			t.Errorf("%s: got digest %s, want %s", i.name(), got, i.digest)
		}
		if i.discovery() {
			continue
		}
		want := string(blob(t, i.layout(), i.digest))
		if got := run(t, crane, "manifest", i.reference(s)); got != want {
			t.Errorf("%s: got manifest %q, want %q", i.name(), got, want)
		}
	}
}

func TestCraneListsTags(t *testing.T) {
	crane, s, images := tool(t, "crane"), serve(t, bundleDir), sample(t)
	for _, repository := range repositories(images) {
		got := strings.Fields(run(t, crane, "ls", s.registry+"/"+repository))
		compareLines(t, repository, got, tags(images, repository))
	}
}

func TestCraneListsRepositories(t *testing.T) {
	crane, s := tool(t, "crane"), serve(t, bundleDir)
	got := strings.Fields(run(t, crane, "catalog", s.registry))
	compareLines(t, "catalog", got, repositories(sample(t)))
}

// TestCranePullsDiscoveryTags pulls discovery tags. No layout contains these tags. So the test
// takes the expected digests and sizes from layoutproxy list.
func TestCranePullsDiscoveryTags(t *testing.T) {
	crane, s := tool(t, "crane"), serve(t, bundleDir)
	tags := discoveryTags(t)
	if len(tags) < 4 {
		t.Errorf("got %d discovery tags, want at least 4", len(tags))
	}
	for _, i := range tags {
		dir := filepath.Join(t.TempDir(), "pulled")
		run(t, crane, "pull", "--format", "oci", i.reference(s), dir)
		checkDiscovery(t, i, contentOf(t, layout(dir), i.digest))
	}
}

// checkDiscovery checks the blobs that a client pulled for a discovery tag.
func checkDiscovery(t *testing.T, i image, got contents) {
	t.Helper()
	if size := int64(len(got[i.digest])); size != i.size {
		t.Errorf("%s: got a manifest of %d bytes, want %d, as layoutproxy list prints", i.name(), size, i.size)
	}
	if len(got) != 3 {
		t.Errorf("%s: got %d blobs, want 3: a manifest, a config and a layer", i.name(), len(got))
	}
}
