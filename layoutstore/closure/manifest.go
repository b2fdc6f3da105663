// Package closure parses manifests and follows everything that they refer to.
//
// [Parse] parses one manifest. [Walk] builds a [Graph] of all manifests and blobs that the
// descriptors of an index lead to. In a graph, each manifest comes after those to which it refers.
// An unavailable manifest comes with the reason why it is unavailable, so that verify, push, import
// and pull report the same problems.
//
// The package supports the formats of the OCI image specification 1.1 (manifest.md, image-index.md,
// descriptor.md), its withdrawn artifact manifest, and Docker's image manifest version 2, schema 2.
// It reads no file: the caller provides the content.
package closure

import (
	"cmp"
	"encoding/json"
	"fmt"
	"unique"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Descriptor is an OCI descriptor of some content, without its annotations.
type Descriptor struct {
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"` // bytes
}

// Refs contains the descriptors in one manifest, in the order in which the manifest lists them.
type Refs struct {
	// MediaType is the media type that the manifest states, or else the one that its fields imply.
	MediaType string
	// Typed means that the manifest states its media type.
	Typed bool
	// ArtifactType is the artifact type that the manifest states, or else the media type of its config.
	ArtifactType string
	Annotations  map[string]string
	// Children contains the descriptors that an index lists as manifests.
	Children []Descriptor
	// Blobs contains the config first.
	Blobs []Ref
	// Subject is nil if the manifest has no subject.
	Subject *Descriptor
	// Malformed contains one message per malformed digest in the manifest.
	Malformed []string
}

// Ref is a blob to which a manifest refers.
type Ref struct {
	Descriptor
	// Optional means that the blob may be missing because it is a layer of a non-distributable
	// media type. Nothing else makes a blob optional, not even urls.
	Optional bool
}

// document contains the fields of all kinds of manifest that refer to content.
type document struct {
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType"`
	Annotations  map[string]string `json:"annotations"`
	Config       *Descriptor       `json:"config"`
	Layers       []Descriptor      `json:"layers"`
	Blobs        []Descriptor      `json:"blobs"` // present only in an artifact manifest
	Manifests    []Descriptor      `json:"manifests"`
	Subject      *Descriptor       `json:"subject"`
}

// Parse parses a manifest or index. It fails if body is neither, or if it is ambiguous; see [ErrAmbiguous].
func Parse(body []byte) (Refs, error) {
	var doc document
	if err := json.Unmarshal(body, &doc); err != nil {
		return Refs{}, fmt.Errorf("not a manifest: %w", err)
	}
	kind, err := kindOfFields(body)
	if err != nil {
		return Refs{}, err
	}
	r := Refs{MediaType: doc.MediaType, Typed: doc.MediaType != "", ArtifactType: doc.ArtifactType, Annotations: doc.Annotations}
	if own := kindOf(doc.MediaType); kind != noKind && own != noKind && own != kind {
		return Refs{}, fmt.Errorf("its mediaType is %q, and its fields are those of an %s: %w", doc.MediaType, kind, ErrAmbiguous)
	}
	if !r.Typed {
		r.MediaType = kind.mediaType()
	}
	for _, d := range doc.Manifests {
		r.child(d)
	}
	if doc.Config != nil {
		r.ArtifactType = cmp.Or(r.ArtifactType, doc.Config.MediaType)
		r.blob(*doc.Config, false)
	}
	for _, d := range doc.Layers {
		r.blob(d, isNonDistributable(d.MediaType))
	}
	for _, d := range doc.Blobs {
		r.blob(d, false)
	}
	// A subject with a malformed digest is legal, but refers to nothing.
	if doc.Subject != nil && doc.Subject.Digest.Validate() == nil {
		r.Subject = doc.Subject
	}
	return r, nil
}

// child records a descriptor in an index. It usually refers to a manifest, but sometimes to a blob.
func (r *Refs) child(d Descriptor) {
	if !IsManifest(d.MediaType) {
		r.blob(d, false)
	} else if r.check("child", &d) {
		r.Children = append(r.Children, d)
	}
}

func (r *Refs) blob(d Descriptor, optional bool) {
	if r.check("blob", &d) {
		r.Blobs = append(r.Blobs, Ref{d, optional})
	}
}

// check reports whether a descriptor has a valid digest. It also makes equal media types share one
// string, which saves memory.
func (r *Refs) check(what string, d *Descriptor) bool {
	if err := d.Digest.Validate(); err != nil {
		r.Malformed = append(r.Malformed, fmt.Sprintf("a %s's digest %.100q: %v", what, d.Digest, err))
		return false
	}
	d.MediaType = unique.Make(d.MediaType).Value()
	return true
}

// These are media types of manifests for which package specs has no constants.
const (
	DockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	DockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
	ArtifactManifest   = "application/vnd.oci.artifact.manifest.v1+json"
)

// isNonDistributable reports whether a bundle or registry may omit a layer of this media type. The
// types are from image-spec 1.1, layer.md, "Non-Distributable Layers", and from Docker's image
// manifest version 2, schema 2. The list also has the uncompressed form of Docker's type, because
// containerd writes it (core/images/mediatypes.go).
func isNonDistributable(mediaType string) bool {
	switch mediaType {
	case specs.MediaTypeImageLayerNonDistributable, specs.MediaTypeImageLayerNonDistributableGzip, specs.MediaTypeImageLayerNonDistributableZstd, //nolint:staticcheck // a source may contain them
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "application/vnd.docker.image.rootfs.foreign.diff.tar":
		return true
	}
	return false
}

// IsManifest reports whether a media type stands for a manifest or an index. An empty media type
// counts as one, because it is unknown.
func IsManifest(mediaType string) bool {
	switch mediaType {
	case "", specs.MediaTypeImageManifest, specs.MediaTypeImageIndex, DockerManifest, DockerManifestList, ArtifactManifest:
		return true
	}
	return false
}

// maxNested is how many levels of nested manifests Layers reads at most.
const maxNested = 8

// Layers returns the layers of an image. For an index, it returns those of the first image, whatever
// its platform. Layers fails if read or [Parse] fails, or if it finds only indexes in maxNested levels.
func Layers(d digest.Digest, read func(digest.Digest) ([]byte, error)) (layers []Descriptor, err error) {
	for range maxNested {
		body, err := read(d)
		if err != nil {
			return nil, err
		}
		refs, err := Parse(body)
		if err != nil {
			return nil, err
		}
		if len(refs.Children) > 0 {
			d = refs.Children[0].Digest
			continue
		}
		for i, b := range refs.Blobs {
			if i > 0 { // the first blob is the config
				layers = append(layers, b.Descriptor)
			}
		}
		return layers, nil
	}
	return nil, fmt.Errorf("an index of indexes, nested more than %d levels deep", maxNested)
}
