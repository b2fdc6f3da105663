package discovery

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// The digests of discovery images must never change, because clusters and registries store them.
func TestDigestsOfDiscoveryImagesNeverChange(t *testing.T) {
	for name, want := range map[string]string{
		"console":  "sha256:648ac37f092cc9b1b81b0d5677177e593f21508cecfcdcdcd431d90ce7187351",
		"csi-ceph": "sha256:974f7df69b93d5d9beaa193defa90e586eb06bbde0d9b0014f734d0850825b40",
		"a.b_c--d": "sha256:630f4a33a539b2352ca5964d4d14e66e595282d325c0fab10f6f0e1a6ce29301",
	} {
		if got := digest.FromBytes(New(name).Manifest).String(); got != want {
			t.Errorf("the image of %s has the digest %s, want %s", name, got, want)
		}
	}
}

func TestDiscoveryImageIsValid(t *testing.T) {
	img := New("console")
	var m specs.Manifest
	if err := json.Unmarshal(img.Manifest, &m); err != nil {
		t.Fatal(err)
	}
	var c specs.Image
	if err := json.Unmarshal(img.Config, &c); err != nil {
		t.Fatal(err)
	}
	if m.Config.Digest != digest.FromBytes(img.Config) || m.Config.Size != int64(len(img.Config)) {
		t.Errorf("the manifest refers to the config %v, want the digest and the size of the image's config", m.Config)
	}
	if len(m.Layers) != 1 || m.Layers[0].Digest != digest.FromBytes(img.Layer) || m.Layers[0].Size != int64(len(img.Layer)) {
		t.Errorf("the manifest refers to the layers %v, want one with the digest and the size of the image's layer", m.Layers)
	}
	if c.OS != "linux" || c.Architecture != "amd64" || c.Created.Unix() != 0 {
		t.Errorf("got the platform %s/%s and the date %v, want linux/amd64 and 1970", c.OS, c.Architecture, c.Created)
	}
	if got := c.Config.Labels["org.opencontainers.image.title"]; got != "console" {
		t.Errorf("got the label %q, want console", got)
	}
	z, err := gzip.NewReader(bytes.NewReader(img.Layer))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if got := digest.FromBytes(plain); got != c.RootFS.DiffIDs[0] {
		t.Errorf("the uncompressed layer has the digest %s, want %s as in the config", got, c.RootFS.DiffIDs[0])
	}
	if _, err := tar.NewReader(bytes.NewReader(plain)).Next(); err != io.EOF {
		t.Errorf("reading the layer: got the error %v, want io.EOF as for an empty archive", err)
	}
}

func TestNamesOfDiscoveryTags(t *testing.T) {
	paths := []string{".", "modules", "modules/b", "modules/a/release", "modules/a/extra/x", "modulesx/c", "install", "x/modules/d"}
	if diff := cmp.Diff([]string{"a", "b"}, Names("modules", paths)); diff != "" {
		t.Error(diff)
	}
	if got := Names("packages", paths); len(got) != 0 {
		t.Errorf("got the discovery tags %v in packages, want none", got)
	}
}
