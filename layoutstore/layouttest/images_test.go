package layouttest_test

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

func TestImageIsComplete(t *testing.T) {
	// One file is larger than a stored gzip block. The other has exactly the size of a block.
	files := map[string]string{"large": strings.Repeat("x", 150000), "dir/block": strings.Repeat("y", 65535)}
	for _, docker := range []bool{false, true} {
		l := layouttest.New(t, t.TempDir()).Layout(".")
		d := l.Image(layouttest.Image{Docker: docker, Files: files})
		var manifest ocispec.Manifest
		decode(t, string(layouttest.ReadFile(t, l.BlobPath(d.Digest))), &manifest)
		got := []string{d.MediaType, manifest.MediaType, manifest.Config.MediaType, manifest.Layers[0].MediaType}
		want := []string{ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageManifest,
			ocispec.MediaTypeImageConfig, ocispec.MediaTypeImageLayerGzip}
		if docker {
			want = []string{layouttest.MediaTypeDockerManifest, layouttest.MediaTypeDockerManifest,
				layouttest.MediaTypeDockerConfig, layouttest.MediaTypeDockerLayer}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		var config ocispec.Image
		decode(t, string(layouttest.ReadFile(t, l.BlobPath(manifest.Config.Digest))), &config)
		archive := gunzip(t, string(layouttest.ReadFile(t, l.BlobPath(manifest.Layers[0].Digest))))
		if diff := cmp.Diff([]digest.Digest{digest.FromString(archive)}, config.RootFS.DiffIDs); diff != "" {
			t.Error(diff)
		}
		if config.OS != "linux" || config.Architecture != "amd64" || config.Created.Unix() != 0 {
			t.Errorf("image: got the config %+v, want linux/amd64, created in 1970", config)
		}
		if diff := cmp.Diff(files, untar(t, archive)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestLayersHaveRequestedSizes(t *testing.T) {
	l := layouttest.New(t, t.TempDir()).Layout(".")
	sizes := []int64{0, 1, 70000, 70000}
	manifest := func(name string) (m ocispec.Manifest) {
		d := l.Image(layouttest.Image{Name: name, LayerSizes: sizes, LayerMediaType: "text/x"})
		decode(t, string(layouttest.ReadFile(t, l.BlobPath(d.Digest))), &m)
		return m
	}
	one, two := manifest("one"), manifest("two")
	for i, layer := range one.Layers {
		if layer.Size != sizes[i] || layer.MediaType != "text/x" {
			t.Errorf("layer %d: got the descriptor %+v, want the requested size and the media type text/x", i, layer)
		}
	}
	if one.Layers[2].Digest == one.Layers[3].Digest || one.Layers[2].Digest == two.Layers[2].Digest {
		t.Error("got two layers with the same digest, want different ones")
	}
}

func TestArtifactHasSubjectAndConfig(t *testing.T) {
	l := layouttest.New(t, t.TempDir()).Layout(".")
	subject := l.Image(layouttest.Image{Name: "subject", Algorithm: digest.SHA512})
	o := layouttest.Image{ArtifactType: "application/vnd.example", Subject: &subject}
	var manifest ocispec.Manifest
	decode(t, string(layouttest.ReadFile(t, l.BlobPath(l.Image(o).Digest))), &manifest)
	empty := ocispec.DescriptorEmptyJSON
	empty.Data = nil
	if diff := cmp.Diff(empty, manifest.Config); diff != "" {
		t.Error(diff)
	}
	subject.Platform = nil
	if diff := cmp.Diff(&subject, manifest.Subject); diff != "" {
		t.Error(diff)
	}
	if subject.Digest.Algorithm() != digest.SHA512 {
		t.Errorf("subject: got the digest %s, want a sha512 digest", subject.Digest)
	}
	o.ConfigMediaType = "application/vnd.other"
	decode(t, string(layouttest.ReadFile(t, l.BlobPath(l.Image(o).Digest))), &manifest)
	if manifest.Config.MediaType != o.ConfigMediaType || manifest.Config.Size < 10 {
		t.Errorf("artifact: got the config %+v, want the requested media type and at least 10 bytes", manifest.Config)
	}
}

func TestIndexContainsItsChildren(t *testing.T) {
	l := layouttest.New(t, t.TempDir()).Layout(".")
	children := []ocispec.Descriptor{
		l.Image(layouttest.Image{Name: "a"}),
		l.Image(layouttest.Image{Name: "b", Platform: &ocispec.Platform{OS: "linux", Architecture: "arm64"}}),
	}
	d := l.Index(layouttest.Index{Children: children})
	var index ocispec.Index
	decode(t, string(layouttest.ReadFile(t, l.BlobPath(d.Digest))), &index)
	if diff := cmp.Diff(children, index.Manifests); diff != "" {
		t.Error(diff)
	}
	if children[1].Platform.Architecture != "arm64" || index.MediaType != d.MediaType {
		t.Errorf("got the index %+v, want the media type of its descriptor and a child for arm64", index)
	}
}

func gunzip(t *testing.T, data string) string {
	t.Helper()
	r, err := gzip.NewReader(strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(plain)
}

func untar(t *testing.T, archive string) map[string]string {
	t.Helper()
	files := map[string]string{}
	r := tar.NewReader(strings.NewReader(archive))
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name] = string(data)
	}
}
