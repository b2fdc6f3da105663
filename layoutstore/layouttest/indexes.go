package layouttest

import (
	"cmp"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Index says what an image index, or a Docker manifest list, is made of.
type Index struct {
	// Docker asks for Docker's media type in place of OCI's.
	Docker bool
	// Children are written as they are, and nothing asks whether they exist.
	Children     []ocispec.Descriptor
	Subject      *ocispec.Descriptor
	ArtifactType string
	Annotations  map[string]string
	// Algorithm names the index's own blob; sha256 if empty.
	Algorithm digest.Algorithm
}

// Index writes an index and returns its descriptor. index.json names neither it
// nor its children yet.
func (l *Layout) Index(o Index) ocispec.Descriptor {
	l.tree.tb.Helper()
	mediaType := ocispec.MediaTypeImageIndex
	if o.Docker {
		mediaType = MediaTypeDockerManifestList
	}
	return l.jsonBlob(cmp.Or(o.Algorithm, digest.SHA256), mediaType, ocispec.Index{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    mediaType,
		ArtifactType: o.ArtifactType,
		Manifests:    append([]ocispec.Descriptor{}, o.Children...),
		Subject:      bare(o.Subject),
		Annotations:  o.Annotations,
	})
}
