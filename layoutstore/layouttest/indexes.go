package layouttest

import (
	"cmp"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Index describes an image index or a Docker manifest list.
type Index struct {
	// Docker selects Docker's media type instead of OCI's.
	Docker bool
	// Children contains the descriptors of the children. The children need not exist.
	Children     []ocispec.Descriptor
	Subject      *ocispec.Descriptor
	ArtifactType string
	Annotations  map[string]string
	// Algorithm is the digest algorithm for the index itself. Empty means sha256.
	Algorithm digest.Algorithm
}

// Index writes an index as a blob, and returns its descriptor for Tag or Add.
func (l *Layout) Index(o Index) ocispec.Descriptor {
	l.tree.tb.Helper()
	mediaType := choose(o.Docker, MediaTypeDockerManifestList, ocispec.MediaTypeImageIndex)
	return l.jsonBlob(cmp.Or(o.Algorithm, digest.SHA256), mediaType, ocispec.Index{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    mediaType,
		ArtifactType: o.ArtifactType,
		Manifests:    append([]ocispec.Descriptor{}, o.Children...),
		Subject:      bare(o.Subject),
		Annotations:  o.Annotations,
	})
}
