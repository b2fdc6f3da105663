package layouttest

import (
	"cmp"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types of Docker's image manifest version 2, schema 2.
const (
	MediaTypeDockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
	MediaTypeDockerConfig       = "application/vnd.docker.container.image.v1+json"
	MediaTypeDockerLayer        = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

// Image describes an image or an artifact. Its layers are those of Files, Layers and
// LayerSizes, in this order.
type Image struct {
	// Name distinguishes images: it is a label in the config and the seed of
	// LayerSizes.
	Name string
	// Docker selects Docker's media types instead of OCI's.
	Docker bool
	// Files are the files of one tar+gzip layer, by path.
	Files map[string]string
	// Layers are written as they are, whatever their media type says.
	Layers [][]byte
	// LayerSizes adds layers of exactly these sizes. Their content is random bytes, which
	// cannot be unpacked.
	LayerSizes []int64
	// LayerMediaType is the media type of Layers and LayerSizes; tar+gzip if empty.
	LayerMediaType string
	// LayerURLs are the urls in the descriptors of all layers.
	LayerURLs []string
	// Platform is linux/amd64 if nil.
	Platform *ocispec.Platform
	// ArtifactType makes it an artifact, with the empty config.
	ArtifactType string
	// ConfigMediaType replaces the media type of an image's config, and gives an
	// artifact an image's config.
	ConfigMediaType string
	Subject         *ocispec.Descriptor
	Annotations     map[string]string
	// Algorithm is the digest algorithm of all blobs, including manifest and config; sha256 if
	// empty.
	Algorithm digest.Algorithm
}

// Image writes layers, config and manifest, and returns the manifest's descriptor, which
// can be a child of an index. It has the platform, but no artifact type, because readers
// must find that in the manifest. Tag or Add adds the descriptor to index.json.
func (l *Layout) Image(o Image) ocispec.Descriptor {
	l.tree.tb.Helper()
	o.Algorithm = cmp.Or(o.Algorithm, digest.SHA256)
	if o.Platform == nil && o.ArtifactType == "" {
		o.Platform = &ocispec.Platform{OS: "linux", Architecture: "amd64"}
	}
	layers, diffIDs := l.layers(o)
	for i := range layers {
		layers[i].URLs = o.LayerURLs
	}
	manifest := ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    choose(o.Docker, MediaTypeDockerManifest, ocispec.MediaTypeImageManifest),
		ArtifactType: o.ArtifactType,
		Config:       l.config(o, diffIDs),
		Layers:       layers,
		Subject:      bare(o.Subject),
		Annotations:  o.Annotations,
	}
	d := l.jsonBlob(o.Algorithm, manifest.MediaType, manifest)
	d.Platform = o.Platform
	return d
}

func (l *Layout) config(o Image, diffIDs []digest.Digest) ocispec.Descriptor {
	l.tree.tb.Helper()
	if o.ArtifactType != "" && o.ConfigMediaType == "" {
		return l.jsonBlob(o.Algorithm, ocispec.MediaTypeEmptyJSON, struct{}{})
	}
	config := ocispec.Image{
		Created: new(time.Unix(0, 0).UTC()),
		RootFS:  ocispec.RootFS{Type: "layers", DiffIDs: diffIDs},
	}
	if o.Platform != nil {
		config.Platform = *o.Platform
	}
	if o.Name != "" {
		config.Config.Labels = map[string]string{ocispec.AnnotationTitle: o.Name}
	}
	usual := choose(o.Docker, MediaTypeDockerConfig, ocispec.MediaTypeImageConfig)
	return l.jsonBlob(o.Algorithm, cmp.Or(o.ConfigMediaType, usual), config)
}

// choose returns Docker's media type or OCI's.
func choose(docker bool, dockerType, ociType string) string {
	if docker {
		return dockerType
	}
	return ociType
}

// bare returns a descriptor without platform and annotations, for a subject.
func bare(d *ocispec.Descriptor) *ocispec.Descriptor {
	if d == nil {
		return nil
	}
	return &ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}
