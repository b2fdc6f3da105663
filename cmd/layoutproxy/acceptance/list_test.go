package acceptance

import (
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// layoutproxy list, on which other tests rely, prints exactly these tags: discovery tags, and tags in index.json files.
func TestListMatchesIndexes(t *testing.T) {
	want := []string{
		"deckhouse/deckhouse-cli/plugins:stronghold", "deckhouse/ee/modules:console",
		"deckhouse/ee/modules:csi-ceph", "deckhouse/ee/packages:echo",
	}
	for file := range layouttest.ReadFiles(t, bundleDir) {
		dir, name := path.Split(file)
		if name != ocispec.ImageLayoutFile {
			continue
		}
		root := sampleRoot
		if strings.HasPrefix(dir, "deckhouse-cli/") {
			root = sampleParent
		}
		repository := path.Join(root, dir)
		for _, d := range indexOf(t, layout(filepath.Join(bundleDir, dir))).Manifests {
			if tag := d.Annotations["io.deckhouse.image.short_tag"]; tag != "" {
				want = append(want, repository+":"+tag+" "+d.Digest.String())
			}
		}
	}
	var got []string
	for _, i := range sample(t) {
		if i.discovery() {
			got = append(got, i.name())
			continue
		}
		got = append(got, i.name()+" "+i.digest.String())
		if size := int64(len(blob(t, i.layout(), i.digest))); size != i.size {
			t.Errorf("%s: layoutproxy list shows %d bytes, want %d, the size of the manifest", i.name(), i.size, size)
		}
	}
	compareLines(t, "list", got, want)
}

func compareLines(t *testing.T, what string, got, want []string) {
	t.Helper()
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("%s: got\n\t%s\nwant\n\t%s", what, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}
