package layouttest

import (
	"cmp"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// These are the media types of Docker's image manifest version 2, schema 2.
const (
	MediaTypeDockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
	MediaTypeDockerConfig       = "application/vnd.docker.container.image.v1+json"
	MediaTypeDockerLayer        = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

// Image describes an image or an artifact. Its layers are those of Files, Layers and LayerSizes, in
// this order.
type Image struct {
	// Name makes images different from each other. It is a label in the config, and the seed of the
	// random content for LayerSizes.
	Name string
	// Docker selects Docker's media types instead of OCI's.
	Docker bool
	// Files contains the files of one tar+gzip layer, by path.
	Files map[string]string
	// Layers contains the content of further layers, which is written unchanged whatever the media type is.
	Layers [][]byte
	// LayerSizes adds one layer per size in bytes. These layers have random content, which cannot
	// be unpacked.
	LayerSizes []int64
	// LayerMediaType is the media type of Layers and LayerSizes. Empty means tar+gzip.
	LayerMediaType string
	// LayerURLs is the value of urls in the descriptors of all layers.
	LayerURLs []string
	// Platform is the platform of the image. nil means linux/amd64.
	Platform *ocispec.Platform
	// ArtifactType, if not empty, makes the result an artifact with the empty config.
	ArtifactType string
	// ConfigMediaType, if not empty, is the media type of the config. An artifact then has the
	// config of an image.
	ConfigMediaType string
	Subject         *ocispec.Descriptor
	Annotations     map[string]string
	// Algorithm is the digest algorithm of all blobs, including the manifest and the config. Empty
	// means sha256.
	Algorithm digest.Algorithm
}

// Image writes the layers, the config and the manifest, but adds nothing to index.json. It returns
// the descriptor of the manifest, for Tag, Add or the children of an index. The descriptor contains
// the platform, but not the artifact type, because readers must find that type in the manifest.
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

// choose returns dockerType if docker is set, and otherwise ociType.
func choose(docker bool, dockerType, ociType string) string {
	if docker {
		return dockerType
	}
	return ociType
}

// bare returns a copy of a descriptor without its platform and annotations, as a subject needs it.
func bare(d *ocispec.Descriptor) *ocispec.Descriptor {
	if d == nil {
		return nil
	}
	return &ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}
